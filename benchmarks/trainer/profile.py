"""Where plumbline's own time goes: `python -m benchmarks.trainer.profile human|clair FOLDER` (FOLDER as `run` has it).

Shares of processor time in two optimiser steps, by kind of work.
"""

import json
import sys
from pathlib import Path

from benchmarks.trainer.run import read

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "attention": ("aten::_scaled_dot_product",),
    "optimiser and clipping": ("aten::_fused_adamw", "aten::linalg_vector_norm", "aten::_foreach"),
}


def profile(kind: str, folder: Path) -> dict[str, float]:
    """Share of each kind of work in the processor time of two steps, "everything else" included."""
    import torch

    from models.checkpoint import load_model
    from models.training.data import micro_batches
    from models.training.logps import completion_logps

    examples, batches = read(folder, kind)
    model = load_model(folder / "model", torch.float32).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step(batch: list[int]) -> None:
        for part in micro_batches(examples, batch, 8192):
            logps = completion_logps(model, [examples[i] for i in part])
            (logps[:, 0] - logps[:, 1]).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step(batches[0])
    with torch.profiler.profile() as recorded:
        for batch in batches[1:3]:
            step(batch)
    spent = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in recorded.key_averages():
        found = next((name for name, starts in KINDS.items() if event.key.startswith(starts)), "everything else")
        spent[found] += event.self_cpu_time_total
    return {name: time / sum(spent.values()) for name, time in spent.items()}


if __name__ == "__main__":
    print("RESULT " + json.dumps(profile(sys.argv[1], Path(sys.argv[2]))))
