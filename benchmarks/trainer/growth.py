"""How the trainer's cost grows: `python -m benchmarks.trainer.growth [--quick] [--out FOLDER]`. About eight minutes on two cores.

A small random Llama learns by DPO on random pairs, one epoch, reference included; each point is a process of its own. Three
curves of seconds and peak resident memory: the number of pairs, the length of answers, the size of the vocabulary. Theory: time
is straight in the pairs; in the length straight plus a square for attention; in the vocabulary straight. Memory is flat in the
pairs but for their ids and reference log-probabilities, and in the vocabulary but for weights, moments and gradient.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.trainer.run import resident
from models.training.data import Example, plan
from models.training.process import _environment

ROOT = Path(__file__).parents[2]
CURVES = {
    "pairs": [1000, 2000, 4000, 8000, 16000, 32000],
    "answer_length": [64, 128, 256, 512, 1024, 2048],
    "vocabulary": [8192, 16384, 32768, 65536, 131072],
}
NAMES = {"pairs": "pairs", "answer_length": "tokens an answer", "vocabulary": "vocabulary"}
WIDTH = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}


def point(curve: str, value: int) -> dict[str, float]:
    """One measurement, in this process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from data_contracts.config_align import AlignConfig
    from models.objectives import build_objective
    from models.training.gradient import Given
    from models.training.jobs import fresh_accelerator
    from models.training.logps import all_logps
    from models.training.loop import train
    from models.training.progress import silent

    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    setting = {"pairs": 64, "answer_length": 32, "vocabulary": 512} | {curve: value}
    rng, length = random.Random(0), setting["answer_length"]

    def ids(count: int) -> list[int]:
        return [rng.randrange(setting["vocabulary"]) for _ in range(count)]

    examples = []
    for i in range(setting["pairs"]):
        shared = ids(length // 2)
        examples.append(Example(str(i), ids(16), (shared + ids(length // 2), shared + ids(length // 2))))
    model = LlamaForCausalLM(LlamaConfig(vocab_size=setting["vocabulary"], max_position_embeddings=4096, **WIDTH)).eval()
    objective = {"name": "dpo"}
    config = AlignConfig.model_validate({"objective": objective, "learning_rate": 1e-5, "batch_size": 32})
    accelerator = fresh_accelerator("float32")
    before, started, busy = resident(), time.monotonic(), time.process_time()
    given = Given(examples, all_logps(model, examples, config.micro_batch_tokens)[None])
    batches = plan(len(examples), config.batch_size, 1, 0)
    train(model, given, build_objective(config.objective), config, batches, accelerator, True, silent)
    spent = {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - busy}
    return spent | {"peak_mb": resident("VmHWM"), "before_mb": before}


def plot(result: dict[str, Any], path: Path) -> None:
    """Points, and the straight line through the first and the last."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, axes = plt.subplots(2, len(CURVES), figsize=(11, 5.6), layout="constrained")
    for column, (curve, found) in enumerate(result["curves"].items()):
        x = [row["value"] for row in found]
        for row, (field, title) in enumerate((("cpu_seconds", "processor seconds"), ("peak_mb", "peak memory, MB"))):
            y, axis = [one[field] for one in found], axes[row][column]
            axis.plot([x[0], x[-1]], [y[0], y[-1]], color="#b8b8b8", linewidth=1)
            axis.plot(x, y, "o", color="#1f6f8b", markersize=4)
            axis.set_ylim(0, max(y) * 1.1)
            axis.xaxis.set_major_locator(MaxNLocator(4))  # more labels would run into each other
            axis.set_xlabel(NAMES[curve])
            axis.set_ylabel(title if column == 0 else "")
            axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("DPO, reference included; grey: the straight line from the first point to the last", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer.growth")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--quick", action="store_true", help="without the larger half of each curve")
    parser.add_argument("--point", nargs=2, metavar=("CURVE", "VALUE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        print("RESULT " + json.dumps(point(arguments.point[0], int(arguments.point[1]))))
        return
    result: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "load_before": os.getloadavg()[0], "curves": {}}
    for curve, values in CURVES.items():
        result["curves"][curve] = []
        for value in values[: len(values) // 2 + 1] if arguments.quick else values:
            command = [sys.executable, "-m", "benchmarks.trainer.growth", "--point", curve, str(value)]
            done = subprocess.run(command, cwd=ROOT, env=_environment(result["cores"]), capture_output=True, text=True)
            lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            if not lines:
                sys.exit(f"{curve} {value} failed:\n{done.stderr[-2000:]}")
            found = {"value": value} | json.loads(lines[0].removeprefix("RESULT "))
            result["curves"][curve].append(found)
            print(f"{curve:14} {value:7}  {found['cpu_seconds']:7.1f} s  {found['peak_mb']:6.0f} MB", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "growth.json").write_text(json.dumps(result, indent=1) + "\n")
    plot(result, arguments.out / "growth.png")


if __name__ == "__main__":
    main()
