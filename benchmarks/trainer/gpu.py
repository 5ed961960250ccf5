"""Preference training on a GPU, plumbline beside TRL: `python -m benchmarks.trainer.gpu [--layers 32] [--runs 3] [--out FOLDER]`.

Llama-3-8B's shape with random weights, bfloat16 mixed precision, CLAIR-like pairs of about a thousand tokens, low-rank adapters
and all weights. TRL has precomputed reference log-probabilities, sdpa and the same gradient checkpointing. Each run is a process
of its own, in turn; both sides' losses are compared. MFU counts shared tokens once. All weights with AdamW in float32 take 130
GB: `--layers` makes the model shallower for smaller GPUs. Without a GPU the command says so and measures nothing.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from models.training.data import Example, plan
from models.training.process import _environment

ROOT = Path(__file__).parents[2]
SHAPE = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}
PAIRS, BATCH, RATE = 64, 16, 1e-6
METHODS: dict[str, dict[str, Any] | None] = {"lora": {"rank": 16, "alpha": 32}, "full": None}
SAME_LOSS = 2e-2  # two bfloat16 forwards of a thousand tokens


def examples() -> list[Example]:
    """Prompts of 200 tokens, answers of 400 that share their first half and differ in a tenth of the rest."""
    rng = random.Random(0)

    def ids(count: int) -> list[int]:
        return [rng.randrange(1000, 120000) for _ in range(count)]

    made = []
    for i in range(PAIRS):
        answer = ids(400)
        revised = [token if at < 200 or rng.random() > 0.1 else rng.randrange(1000, 120000) for at, token in enumerate(answer)]
        made.append(Example(str(i), ids(200), (revised, answer)))
    return made


def model_of(layers: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    with torch.device("cuda"):
        return LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, **SHAPE)).eval()


def plumbline(layers: int, method: str) -> dict[str, Any]:
    from data_contracts.config_align import AlignConfig
    from models.objectives import build_objective
    from models.training.gradient import Given
    from models.training.jobs import fresh_accelerator
    from models.training.logps import all_logps
    from models.training.loop import train
    from models.training.methods import set_up
    from models.training.progress import silent

    settings: dict[str, Any] = {"objective": {"name": "dpo", "beta": 0.1}, "learning_rate": RATE, "schedule": "constant"}
    settings |= {"warmup": 0.0, "batch_size": BATCH, "dtype": "bfloat16", "gradient_checkpointing": True}
    config = AlignConfig.model_validate(settings | {"lora": METHODS[method]})
    data, accelerator, model = examples(), fresh_accelerator("bfloat16"), model_of(layers)
    with accelerator.autocast():
        given = Given(data, all_logps(model, data, config.micro_batch_tokens)[None])
    set_up(model, config)
    started = time.monotonic()
    batches = plan(PAIRS, BATCH, 1, 0)
    rows, _ = train(model, given, build_objective(config.objective), config, batches, accelerator, False, silent)
    # the first step compiles
    speed = [row["tokens_per_second"] for row in rows[1:]]
    per_pair = sum(e.tokens for e in data) / PAIRS
    return {
        "losses": [row["loss"] for row in rows],
        "pairs_per_second": median(speed) / per_pair,
        "mfu": median(row["mfu"] or 0.0 for row in rows[1:]),
        "peak_mb": rows[-1]["peak_memory_mb"],
        "seconds": time.monotonic() - started,
    }


def trl(layers: int, method: str) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Tokenized(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:  # the pairs are ids already
            return dataset

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            ends.append(time.monotonic())

    data = examples()
    ordered = [data[i] for batch in plan(PAIRS, BATCH, 1, 0) for i in batch]
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = [dict(zip(columns, (e.prompt, *e.answers), strict=True)) for e in ordered]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), pad_token="<end>", eos_token="<end>")
    config = DPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=4, gradient_accumulation_steps=BATCH // 4,
        num_train_epochs=1, beta=0.1, learning_rate=RATE, lr_scheduler_type="constant", warmup_steps=0, adam_beta1=0.9,
        adam_beta2=0.95, max_grad_norm=1.0, max_length=None, precompute_ref_log_probs=True, train_sampling_strategy="sequential",
        gradient_checkpointing=True, bf16=True, optim="adamw_torch_fused", save_strategy="no", report_to="none", logging_steps=1,
        disable_tqdm=True, seed=0,
    )  # fmt: skip
    lora = METHODS[method]
    adapter = LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], target_modules="all-linear") if lora else None
    trainer = Tokenized(
        model_of(layers), args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=adapter,
        callbacks=[Clock()],
    )  # fmt: skip
    started = time.monotonic()
    trainer.train()
    steps = [end - begin for begin, end in zip([started, *ends], ends, strict=False)][1:]
    return {
        "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
        "pairs_per_second": BATCH / median(steps),
        "peak_mb": torch.cuda.max_memory_allocated() / 1e6,
        "seconds": time.monotonic() - started,
    }


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    turns = list(zip(runs["plumbline"], runs["trl"], strict=True))
    off = max(abs(a - b) for mine, theirs in turns for a, b in zip(mine["losses"], theirs["losses"], strict=True))
    assert off < SAME_LOSS, f"the two sides' losses differ by {off}: not the same computation"
    return {
        "times_as_fast": median(mine["pairs_per_second"] / theirs["pairs_per_second"] for mine, theirs in turns),
        "peak_memory_ratio": median(mine["peak_mb"] / theirs["peak_mb"] for mine, theirs in turns),
        "mfu": median(mine["mfu"] for mine, _ in turns),
        "largest_loss_difference": off,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer.gpu")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3, help="turns of each side")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("no GPU is at hand: nothing was measured")
        return
    if arguments.one:
        side, method = arguments.one
        print("RESULT " + json.dumps({"plumbline": plumbline, "trl": trl}[side](arguments.layers, method)))
        return
    result: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "layers": arguments.layers, "runs": {}, "summary": {}}
    for method in METHODS:
        runs: dict[str, list[dict[str, Any]]] = {"plumbline": [], "trl": []}
        for _ in range(arguments.runs):
            for side, found in runs.items():
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.trainer.gpu",
                    "--layers",
                    str(arguments.layers),
                    "--one",
                    side,
                    method,
                ]
                done = subprocess.run(command, cwd=ROOT, env=_environment(8), capture_output=True, text=True)
                lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
                if not lines:
                    sys.exit(f"{side} {method} failed:\n{done.stderr[-3000:]}")
                found.append(json.loads(lines[0].removeprefix("RESULT ")))
                print(
                    f"{method:5} {side:9} {found[-1]['pairs_per_second']:6.2f} pairs/s {found[-1]['peak_mb']:8.0f} MB", flush=True
                )
        result["runs"][method], result["summary"][method] = runs, summary(runs)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
