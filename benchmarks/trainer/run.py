"""One measured run in a process of its own: `python -m benchmarks.trainer.run plumbline|trl human|clair FOLDER`.

FOLDER holds model/ and KIND.json from `prepare`. The clock runs from the loaded model to the last optimiser step, reference
log-probabilities included; imports, data reading and the first model load are not counted for either side.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from models.training.data import Example

BATCH, BETA, RATE = 8, 0.1, 1e-5


def read(folder: Path, kind: str) -> tuple[list[Example], list[list[int]]]:
    stored = json.loads((folder / f"{kind}.json").read_text())
    return [Example(str(i), p, (c, r)) for i, (p, c, r) in enumerate(stored["pairs"])], stored["batches"]


def plumbline(folder: Path, examples: list[Example], batches: list[list[int]]) -> dict[str, Any]:
    from data_contracts.config_align import AlignConfig
    from models.checkpoint import load_model
    from models.objectives import build_objective
    from models.training.gradient import Given
    from models.training.jobs import fresh_accelerator
    from models.training.logps import all_logps
    from models.training.loop import train
    from models.training.progress import silent

    settings = {"objective": {"name": "dpo", "beta": BETA}, "learning_rate": RATE, "schedule": "constant", "warmup": 0.0}
    config = AlignConfig.model_validate(settings | {"batch_size": BATCH})
    import torch

    model, accelerator = load_model(folder / "model", torch.float32).eval(), fresh_accelerator("float32")
    before, started, busy = resident(), time.monotonic(), time.process_time()
    given = Given(examples, all_logps(model, examples, config.micro_batch_tokens)[None])
    reference = time.monotonic() - started
    rows, _ = train(model, given, build_objective(config.objective), config, batches, accelerator, True, silent)
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - busy
    return {
        "losses": [row["loss"] for row in rows],
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "reference_seconds": reference,
        "before": before,
    }


def trl(folder: Path, examples: list[Example], batches: list[list[int]]) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    class Tokenized(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:  # the pairs are ids already
            return dataset

    ordered = [examples[i] for batch in batches for i in batch]
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = [dict(zip(columns, (e.prompt, *e.answers), strict=True)) for e in ordered]
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<end>", eos_token="<end>")
    config = DPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=BATCH, num_train_epochs=1, beta=BETA, learning_rate=RATE,
        lr_scheduler_type="constant", warmup_steps=0, adam_beta1=0.9, adam_beta2=0.95, max_grad_norm=1.0, max_length=None,
        precompute_ref_log_probs=True, precompute_ref_batch_size=BATCH, train_sampling_strategy="sequential",
        gradient_checkpointing=False, bf16=False, use_cpu=True, optim="adamw_torch_fused", save_strategy="no", report_to="none",
        logging_steps=1, disable_tqdm=True, dataloader_num_workers=0, dataloader_pin_memory=False, seed=0,
    )  # fmt: skip
    before, started, busy = resident(), time.monotonic(), time.process_time()
    trainer = Tokenized(model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    reference = time.monotonic() - started
    trainer.train()
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - busy
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {"losses": losses, "seconds": seconds, "cpu_seconds": cpu_seconds, "reference_seconds": reference, "before": before}


def resident(field: str = "VmRSS") -> float:
    """MB of resident memory, now or (VmHWM) at the highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1000


def main() -> None:
    side, kind, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    import torch

    torch.set_flush_denormal(True)
    result = {"plumbline": plumbline, "trl": trl}[side](folder, *read(folder, kind))
    print("RESULT " + json.dumps(result | {"peak": resident("VmHWM"), "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
