"""Preference training on a CPU, plumbline beside TRL: `python -m benchmarks.trainer [--runs 3] [--order grouped] [--out FOLDER]`.

Needs `trl` and ../shared/data/hh_harmless_test.jsonl.gz. About 25 minutes on two cores. Both sides train the same random Llama
(13.8M parameters, vocabulary 8192) with DPO for one epoch on the same batches of eight, each run in a process of its own with the
same allocator settings, in turn. TRL has what it offers for speed: precomputed reference log-probabilities, fused AdamW, no
gradient checkpointing, sdpa. Batches are dealt at random, as plumbline trains; with `--order grouped` they are those of
transformers' LengthGroupedSampler, which pads least but puts answers of like length together. Other processes disturb the times,
hence the turns, the medians over them, the load average beside each run, and the ratio of processor seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.trainer import data
from benchmarks.trainer.plot import plot
from benchmarks.trainer.run import BATCH
from models.training.process import _environment

ROOT = Path(__file__).parents[2]
SIDES, COUNTS = ("plumbline", "trl"), {"human": 128, "clair": 96}
SAME_LOSS = 1e-4  # the two may differ by rounding only


def prepare(folder: Path, order: str) -> dict[str, Any]:
    """Model, pairs and batches, written once for all runs; what describes them."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    width = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6}
    config = LlamaConfig(vocab_size=data.VOCABULARY, max_position_embeddings=512, tie_word_embeddings=True, **width, **ends)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder / "model")
    Tokenizer(models.BPE()).save(str(folder / "tokenizer.json"))  # TRL wants one; the pairs are ids already
    described: dict[str, Any] = {"parameters": model.num_parameters()}
    for kind, count in COUNTS.items():
        examples = data.make(kind, count)
        pairs, batches = [[e.prompt, *e.answers] for e in examples], data.ORDERS[order](examples, BATCH)
        (folder / f"{kind}.json").write_text(json.dumps({"pairs": pairs, "batches": batches}))
        described[kind] = {
            "pairs": count,
            "tokens": {
                "prompt": mean(len(e.prompt) for e in examples),
                "chosen": mean(len(e.answers[0]) for e in examples),
                "rejected": mean(len(e.answers[1]) for e in examples),
                "both sequences": mean(e.tokens for e in examples),
                "prefix tree": mean(e.tree_tokens for e in examples),
                "both sequences padded": mean(2 * max(examples[i].longest for i in b) for b in batches for _ in b),
            },
        }
    return described


def child(*words: str) -> dict[str, Any]:
    """What `python -m benchmarks.trainer.WORDS` reports, run in the surroundings of a training process."""
    command = [sys.executable, "-m", f"benchmarks.trainer.{words[0]}", *words[1:]]
    surroundings = _environment(len(os.sched_getaffinity(0)))
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return found


def measure(side: str, kind: str, folder: Path) -> dict[str, Any]:
    load = os.getloadavg()[0]
    result = child("run", side, kind, str(folder))
    result |= {"pairs_per_second": COUNTS[kind] / result["seconds"], "load_before": load}
    print(
        f"{kind:6} {side:9} {result['seconds']:7.1f} s  {result['pairs_per_second']:6.2f} pairs/s  {result['peak']:6.0f} MB",
        flush=True,
    )
    return result


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Ratios of neighbouring runs, their median, and whether both sides saw the same losses."""
    turns = list(zip(runs["plumbline"], runs["trl"], strict=True))
    ratios = [theirs["seconds"] / mine["seconds"] for mine, theirs in turns]
    differences = [abs(a - b) for mine, theirs in turns for a, b in zip(mine["losses"], theirs["losses"], strict=True)]
    assert max(differences) < SAME_LOSS, f"the two sides' losses differ by {max(differences)}: not the same computation"
    peaks = {side: median(run["peak"] for run in runs[side]) for side in SIDES}
    return {
        "times_as_fast": median(ratios),
        "times_as_fast_by_turn": ratios,
        "times_less_processor_time": median(theirs["cpu_seconds"] / mine["cpu_seconds"] for mine, theirs in turns),
        "peak_memory_ratio": peaks["plumbline"] / peaks["trl"],
        "largest_loss_difference": max(differences),
        "pairs_per_second": {side: median(run["pairs_per_second"] for run in runs[side]) for side in SIDES},
        "peak_mb": peaks,
    }


def write(result: dict[str, Any], out: Path, order: str) -> None:
    result["summary"] = {kind: summary(result["runs"][kind]) for kind in COUNTS}
    out.mkdir(parents=True, exist_ok=True)
    (out / f"cpu_{order}.json").write_text(json.dumps(result, indent=1) + "\n")
    plot(result, out / f"cpu_{order}.png")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer")
    parser.add_argument("--runs", type=int, default=3, help="turns of each side")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--order", choices=data.ORDERS, default="shuffled", help="how examples are dealt into batches")
    arguments = parser.parse_args()
    import torch
    import transformers
    import trl

    versions = {m.__name__: m.__version__ for m in (torch, transformers, trl)}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none at hand: the GPU comparison was not run"
    result: dict[str, Any] = {"versions": versions, "cores": len(os.sched_getaffinity(0)), "gpu": gpu, "order": arguments.order}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result["data"] = prepare(folder, arguments.order)
        result["profile"] = {kind: child("profile", kind, str(folder)) for kind in COUNTS}
        result["runs"] = {kind: {side: [] for side in SIDES} for kind in COUNTS}
        for _ in range(arguments.runs):
            for kind in COUNTS:
                for side in SIDES:
                    result["runs"][kind][side].append(measure(side, kind, folder))
            write(result, arguments.out, arguments.order)  # after every turn, so that a benchmark cut short has something to show
    for kind, found in result["summary"].items():
        by_processor, memory = found["times_less_processor_time"], found["peak_memory_ratio"]
        print(f"{kind}: {found['times_as_fast']:.2f} times as fast as TRL ({by_processor:.2f} by processor time),", end=" ")
        print(f"peak memory {memory:.2f} of TRL's")


if __name__ == "__main__":
    main()
