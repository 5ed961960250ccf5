"""The texts that a run measures with, so that it does not train on them."""

from pathlib import Path

from data_contracts.config_validate import ContaminationConfig
from data_contracts.errors import PlumblineError
from data_contracts.overlap import EvaluationTexts
from models.benchmark import load_benchmark
from models.benchmark_hub import open_benchmark
from tasks.prompts import read_prompts


def evaluation_texts(benchmark: str | None, config: ContaminationConfig) -> EvaluationTexts:
    """Prompts and contexts of the benchmark and of every further set: a benchmark's folder or a file of prompts.

    Raises PlumblineError for a set that cannot be read.
    """
    texts: list[str] = []
    for source in ([benchmark] if benchmark else []) + config.sets:
        if Path(source).is_file():
            texts += [messages[-1]["content"] for _, messages in read_prompts(Path(source))]
            continue
        try:
            questions = load_benchmark(open_benchmark(source))
        except PlumblineError as error:
            raise PlumblineError(f"validate.contamination cannot read the evaluation set {source}: {error}") from None
        texts += [text for q in questions for text in (q.prompt, q.context) if text]
    return EvaluationTexts(texts, config.ngram, config.similarity)
