"""How long all contracts on pairs take: `python -m benchmarks.contracts [--pairs 100000]`. Writes results.json beside this file.

The pairs are words of the embedded world, drawn at random: prompts of 30 words, CLAIR-like answers of 100 that share their first
half and differ in six words after it. The target is 60 s for 100,000 on two cores.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from data_contracts.config_validate import ValidateConfig
from data_contracts.store import Dataset, build
from models.chat import encode_prompts
from models.checkpoint import load_tokenizer, open_checkpoint
from tasks.validate import limits_of, validate

HERE = Path(__file__).resolve().parent
STUDENT = HERE.parents[1] / "models" / "embedded" / "student"


def make_pairs(folder: Path, count: int) -> Dataset:
    tokenizer = load_tokenizer(open_checkpoint(STUDENT).path)
    draw = random.Random(0)
    lines = (STUDENT.parent / "data" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    words = sorted({word for line in lines for word in json.loads(line)["prompt"].split()})
    texts: list[tuple[str, str, str]] = []
    for _ in range(count):
        chosen = draw.choices(words, k=100)
        rejected = [*chosen]
        for place in draw.sample(range(50, 100), 6):
            rejected[place] = draw.choice(words)
        texts.append((" ".join(draw.choices(words, k=30)), " ".join(chosen), " ".join(rejected)))
    prompts = [[{"role": "user", "content": prompt}] for prompt, _, _ in texts]
    prompt_ids = encode_prompts(tokenizer, prompts)  # type: ignore[arg-type]
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    ids = [tokenizer([t[side] for t in texts], add_special_tokens=False)["input_ids"] for side in (1, 2)]
    rows = [
        {"pair_id": str(i), "prompt_id": str(i), "prompt": prompts[i], "prompt_ids": prompt_ids[i], "chosen": text[1]}
        | {"rejected": text[2], "chosen_ids": [*ids[0][i], end], "rejected_ids": [*ids[1][i], end], "chosen_stopped": True}
        | {"rejected_stopped": True, "method": "clair", "reasoning": "", "policy": ""}
        for i, text in enumerate(texts)
    ]
    return build(folder, "pairs", {}, lambda _: (rows, {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    count = parser.parse_args().pairs
    with TemporaryDirectory() as scratch:
        pairs = make_pairs(Path(scratch) / "pairs", count)
        limits = limits_of(load_tokenizer(STUDENT), 4096)
        wall, processor = time.perf_counter(), time.process_time()
        made = validate(Path(scratch) / "clean", pairs, ValidateConfig(), limits, Path(scratch) / "docs")
        found = {
            "pairs": count,
            "kept": made.rows,
            "tokens_an_answer": round(sum(map(len, pairs.frame()["chosen_ids"])) / count, 1),
            "seconds": round(time.perf_counter() - wall, 1),
            "processor_seconds": round(time.process_time() - processor, 1),
            "cores": os.cpu_count(),
        }
    (HERE / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
