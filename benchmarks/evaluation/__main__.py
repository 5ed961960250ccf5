"""What evaluating costs beyond answering: `python -m benchmarks.evaluation [--questions 1000] [--turns 3] [--out FILE]`.

About five minutes on two cores. Both sides have one engine answer the same distinct questions greedily, in turn, with its prefix
cache emptied before each: plain vLLM by `LLM.chat`, plumbline by its evaluate stage, which also reads the benchmark, parses,
scores with intervals and writes the dataset. The answers must be equal. Then the same weights are evaluated again: for another
run, and in the same folder. Give `--model`, `--benchmark`, `--prompts`, `--max-tokens` and `--max-model-len` for a real model.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from data_contracts.config import EngineConfig
from data_contracts.config_evaluate import EvaluateConfig
from models.benchmark import SPLITS, load_benchmark
from models.benchmark_prompts import prompt_builder
from models.checkpoint import open_checkpoint
from models.responses import entry
from tasks.evaluate import evaluate

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "models" / "embedded"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--model", default=str(EMBEDDED / "student"))
    parser.add_argument("--benchmark", default=str(EMBEDDED / "data" / "mixeval" / "embedded-1"))
    parser.add_argument("--prompts", choices=("plain", "mixeval"), default="plain")
    parser.add_argument("--parser", default="rule-2")
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--max-model-len", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.json")
    asked = parser.parse_args()

    from models.engine import Engine

    policy = open_checkpoint(asked.model)
    engine = Engine(policy, EngineConfig(max_model_len=asked.max_model_len))
    try:
        with tempfile.TemporaryDirectory() as place:
            found = measure(Path(place), engine, policy, asked)
    finally:
        engine.close()
    asked.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k != "turns"}, indent=2))


def measure(place: Path, engine: Any, policy: Any, asked: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both sides turn by turn, the median of their ratios, and what evaluating once more costs."""
    questions = distinct(place / "bench-1", Path(asked.benchmark), asked.questions)
    settings = {"benchmark": str(place / "bench-1"), "prompts": asked.prompts, "parser": asked.parser}
    config = EvaluateConfig.model_validate(settings | {"max_tokens": asked.max_tokens})
    prompts = [prompt_builder(asked.prompts)(question) for question in questions]
    turns = []
    for turn in range(asked.turns + 1):  # the first one warms up and does not count
        seconds, theirs = plain(engine, prompts, asked.max_tokens)
        engine._llm.reset_prefix_cache()
        begin = time.monotonic()
        made = evaluate(place / f"turn-{turn}", config, policy, engine)
        ours = time.monotonic() - begin
        assert [row["token_ids"] for row in made.records()] == theirs, "the two sides did not give the same answers"
        turns.append({"plain": seconds, "evaluate": ours, "ratio": ours / seconds, "load": os.getloadavg()[0]})
    kept = place / ".answers"
    evaluate(place / "first", config, policy, engine, kept=kept)
    again = [
        timed(lambda where=where: evaluate(place / where, config, policy, engine, kept=kept)) for where in ("other", "first")
    ]
    return {
        "model": Path(asked.model).name,
        "parser": asked.parser,
        "questions": len(questions),
        "distinct prompts": len(set(prompts)),
        "max_tokens": asked.max_tokens,
        "plain vLLM, seconds": median(t["plain"] for t in turns[1:]),
        "evaluate, seconds": median(t["evaluate"] for t in turns[1:]),
        "ratio": median(t["ratio"] for t in turns[1:]),
        "same weights, another run, seconds": again[0],
        "same weights, same folder, seconds": again[1],
        "turns": turns,
    }


def distinct(folder: Path, source: Path, n: int) -> tuple[Any, ...]:
    """`n` questions of different content, written as a benchmark of their own; the world's prompts fill it up to `n`."""
    chosen = list({question.content: question for question in load_benchmark(source)}.values())[:n]
    more = [json.loads(line)["prompt"] for line in (EMBEDDED / "data" / "prompts.jsonl").read_text().splitlines()]
    filling = {"problem_type": "free-form", "context": None, "target": ["nobody knows"], "benchmark_name": "more"}
    folder.mkdir()
    for split in SPLITS:
        entries = {q.id.partition("/")[2]: entry(q) for q in chosen if q.split == split}
        if split == "free-form":
            entries |= {f"more-{i}": filling | {"prompt": prompt} for i, prompt in enumerate(more[: n - len(chosen)])}
        (folder / f"{split}.json").write_text(json.dumps(entries))
    return load_benchmark(folder)


def plain(engine: Any, prompts: list[str], max_tokens: int) -> tuple[float, list[list[int]]]:
    """Seconds and token ids of vLLM asked as its documentation asks it."""
    from vllm import SamplingParams

    engine._llm.reset_prefix_cache()
    conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]
    begin = time.monotonic()
    outputs = engine._llm.chat(conversations, SamplingParams(temperature=0, max_tokens=max_tokens), use_tqdm=False)
    return time.monotonic() - begin, [list(output.outputs[0].token_ids) for output in outputs]


def timed(do: Any) -> float:
    begin = time.monotonic()
    do()
    return time.monotonic() - begin


if __name__ == "__main__":
    main()
