"""Benchmark questions -> the policy's greedy answers, parsed and scored, with intervals clustered by distinct question."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config_evaluate import EvaluateConfig
from data_contracts.store import Dataset, Rows, build, digest
from models.benchmark import PROMPTS, SPLITS, benchmark_name, load_benchmark
from models.chat import encode_prompt
from models.checkpoint import Checkpoint
from models.engine import Progress, Sampling, quiet
from models.parsers import PARSERS
from models.statistics import mean_interval

if TYPE_CHECKING:
    from models.engine import Engine


def metric_name(benchmark: str, parser: str, split: str) -> str:
    """`embedded-1.strict-1.overall`: a score means nothing without the benchmark and the parser that gave it."""
    return f"{benchmark}.{parser}.{split}"


def evaluate(folder: Path, config: EvaluateConfig, policy: Checkpoint, engine: "Engine", progress: Progress = quiet) -> Dataset:
    """Answers of `policy` to every question of the benchmark, one row a question.

    Equal model inputs are generated once; rows that repeat a question count as often as the benchmark holds them, which is
    how MixEval aggregates. facts["metrics"] maps each split and "overall" (the mean over all rows) to mean, low, high, rows,
    distinct and unparsed; facts["benchmarks"] does so for each source benchmark.

    Raises PlumblineError if the benchmark is malformed.
    """
    source = Path(config.benchmark)
    questions = load_benchmark(source)
    # what was asked decides the key, not where the folder lies
    slice_ = config.model_dump(mode="json") | {
        "benchmark": benchmark_name(source),
        "questions": digest([[q.id, q.content] for q in questions]),
    }

    def make(_: Path) -> tuple[Rows, dict[str, Any]]:
        engine.use(policy)
        texts = [PROMPTS[config.prompts](question) for question in questions]
        distinct = list(dict.fromkeys(texts))
        encoded = [encode_prompt(engine.tokenizer, [{"role": "user", "content": text}]) for text in distinct]
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=config.max_tokens)
        answers = dict(
            zip(
                distinct, zip(encoded, engine.generate(encoded, sampling, [0] * len(encoded), progress), strict=True), strict=True
            )
        )
        rows = []
        for question, text in zip(questions, texts, strict=True):
            prompt_ids, completion = answers[text]
            parsed = PARSERS[config.parser](question, completion.text)
            rows.append(
                {
                    "question_id": question.id,
                    "split": question.split,
                    "benchmark": question.benchmark,
                    "question": question.content,
                    "prompt": text,
                    "prompt_ids": prompt_ids,
                    "response": completion.text,
                    "token_ids": completion.token_ids,
                    "stopped": completion.finish_reason == "stop",
                    "parsed": parsed.value,
                    "score": parsed.score,
                }
            )
        return rows, {"benchmark": slice_["benchmark"], "parser": config.parser} | summarise(rows)

    return build(folder, "answers", slice_, make, models={"policy": policy.hash})


def summarise(rows: Rows) -> dict[str, Any]:
    """Metrics by split and by source benchmark, mean answer length in tokens, and the share of answers that ended."""
    by_split, by_benchmark = defaultdict(list), defaultdict(list)
    for row in rows:
        by_split[row["split"]].append(row)
        by_benchmark[row["benchmark"]].append(row)
    present = [split for split in SPLITS if split in by_split]
    return {
        "metrics": {split: _metric(by_split[split]) for split in present} | {"overall": _metric(rows)},
        "benchmarks": {name: _metric(group) for name, group in sorted(by_benchmark.items())},
        "mean_tokens": sum(len(row["token_ids"]) for row in rows) / len(rows),
        "stop_rate": sum(row["stopped"] for row in rows) / len(rows),
    }


def _metric(rows: Rows) -> dict[str, float]:
    clusters = [row["question"] for row in rows]
    interval = mean_interval([row["score"] for row in rows], clusters)
    counts = {"rows": len(rows), "distinct": len(set(clusters)), "unparsed": sum(row["parsed"] is None for row in rows)}
    return interval.as_dict() | counts
