"""The measured runs as one Markdown table."""

import statistics
from collections.abc import Mapping
from typing import Any


def table(results: Mapping[str, Any], start: Mapping[str, float], refused: Mapping[str, str]) -> str:
    lines = [
        "# One round with every objective that the embedded world's data serves",
        "",
        f"`python -m benchmarks.objectives`. Start: {start['mean']:.3f} ({start['low']:.3f}–{start['high']:.3f}).",
        "Score: mean over the seeds, in brackets the lowest and highest seed; interval: the seeds' 95 % ones, ends averaged.",
        "Log-ratios to the reference in nats over the last tenth of the steps (lists: the best answer, the mean of the others).",
        "Length in tokens. Every objective has its own defaults and the demo's learning rate.",
        "Seconds: on one thread, with other work beside it.",
        "",
        "| objective | data | score | interval | chosen log-ratio | rejected log-ratio | length change | training seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    measured = {name: [r for r in found["runs"].values() if "score" in r] for name, found in results.items()}
    for name in sorted(measured, key=lambda n: -statistics.mean([r["score"] for r in measured[n]] or [-1.0])):
        runs, found = measured[name], results[name]
        if not runs:
            why = next((r["error"] for r in found["runs"].values()), "not measured yet")
            lines.append(f"| {name} | {found['data']} | refused: {why} | | | | | |")
            continue
        mean = {key: statistics.mean(r[key] for r in runs) for key in runs[0]}
        scores = [r["score"] for r in runs]
        lines.append(
            f"| {name} | {found['data']} | {mean['score']:.3f} ({min(scores):.3f}–{max(scores):.3f}) "
            f"| {mean['low']:.3f}–{mean['high']:.3f} | {mean['chosen_logratio']:+.2f} | {mean['rejected_logratio']:+.2f} "
            f"| {mean['length_change']:+.2f} | {mean['seconds']:.1f} |"
        )
    lines += [f"| {name} | – | not run: {why} | | | | | |" for name, why in refused.items()]
    return "\n".join(lines) + "\n"
