"""The benchmark's picture: speed and memory of both sides, every single run as a dot."""

from pathlib import Path
from typing import Any

COLOURS = {"plumbline": "#1f6f8b", "trl": "#b8b8b8"}
NAMES = {"human": "human pairs", "clair": "CLAIR-like pairs"}


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, field, title in zip(
        axes, ("pairs_per_second", "peak"), ("pairs a second", "peak resident memory, MB"), strict=True
    ):
        for at, (kind, found) in enumerate(result["summary"].items()):
            for shift, side in ((-0.2, "plumbline"), (0.2, "trl")):
                runs = [run[field] for run in result["runs"][kind][side]]
                value = found["pairs_per_second" if field == "pairs_per_second" else "peak_mb"][side]
                axis.bar(at + shift, value, 0.36, color=COLOURS[side], label=side if at == 0 else None)
                axis.scatter([at + shift] * len(runs), runs, s=14, color="black", zorder=3)
            ratio = found["times_as_fast"] if field == "pairs_per_second" else found["peak_memory_ratio"]
            top = max(run[field] for side in COLOURS for run in result["runs"][kind][side])
            axis.annotate(f"{ratio:.2g} x", (at, top), xytext=(0, 6), textcoords="offset points", ha="center")
        axis.set_xticks(range(len(NAMES)), [NAMES[kind] for kind in result["summary"]])
        axis.set_title(title)
        axis.margins(y=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    millions = result["data"]["parameters"] / 1e6
    figure.suptitle(
        f"DPO, {result['cores']} CPU cores, Llama of {millions:.1f}M parameters, {result['order']} batches; dots: single runs",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
