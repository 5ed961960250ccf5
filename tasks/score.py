"""Scores of parsed answers: means with clustered intervals, upstream's own aggregation, and what distinguishes two models."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from data_contracts.store import Rows
from models.benchmark import SPLITS, Question
from models.parsers import Parsed
from models.statistics import mean_interval


def metric_name(benchmark: str, parser: str, split: str) -> str:
    """`embedded-1.strict-1.overall`: a score means nothing without the benchmark and the parser that gave it."""
    return f"{benchmark}.{parser}.{split}"


def scored_rows(
    questions: Sequence[Question], prompts: Sequence[str], responses: Sequence[str], parsed: Sequence[Parsed]
) -> Rows:
    """The columns of an answers dataset that scoring knows, one row a question."""
    return [
        {
            "question_id": question.id,
            "split": question.split,
            "benchmark": question.benchmark,
            "question": question.content,
            "prompt": prompt,
            "response": response,
            "parsed": read.value,
            "score": read.score,
        }
        for question, prompt, response, read in zip(questions, prompts, responses, parsed, strict=True)
    ]


def rows_of(part: str, rows: Rows) -> Rows:
    """Those that a metric is the mean of: "overall", a split or a source benchmark."""
    return [row for row in rows if part in ("overall", row["split"], row["benchmark"])]


def metrics(rows: Rows) -> dict[str, Any]:
    """By split and "overall" (`metrics`), by source benchmark (`benchmarks`), and as upstream adds up (`official`).

    Each of the first two maps to mean, low, high, rows, distinct and unparsed; the interval is for 95 %, clustered by distinct
    question, and the mean is over all rows.
    """
    by_split, by_benchmark = defaultdict(list), defaultdict(list)
    for row in rows:
        by_split[row["split"]].append(row)
        by_benchmark[row["benchmark"]].append(row)
    present = [split for split in SPLITS if split in by_split]
    return {
        "metrics": {split: _metric(by_split[split]) for split in present} | {"overall": _metric(rows)},
        "benchmarks": {name: _metric(group) for name, group in sorted(by_benchmark.items())},
        "official": official_scores(rows),
    }


def official_scores(rows: Rows) -> dict[str, float]:
    """MixEval's `score.json`: "overall" and each source benchmark, as fractions.

    Upstream rounds the mean of each split to three decimals, by source benchmark too, and then averages the two splits' rounded
    values by their numbers of rows (`compute_metrics.py`).
    """
    means: dict[str, dict[str, tuple[float, int]]] = {}
    for split in SPLITS:
        groups = defaultdict(list)
        for row in rows:
            if row["split"] == split:
                groups["overall"].append(row["score"])
                groups[row["benchmark"]].append(row["score"])
        means[split] = {name: (round(sum(scores) / len(scores), 3), len(scores)) for name, scores in groups.items()}
    free, choice = (means[split] for split in SPLITS)
    official = {}
    for name in sorted(free.keys() | choice.keys(), key=lambda name: (name != "overall", name)):
        (f, n), (c, m) = free.get(name, (0.0, 0)), choice.get(name, (0.0, 0))
        official[name] = f * (n / (n + m)) + c * (m / (n + m))
    return official


def _metric(rows: Rows) -> dict[str, float]:
    clusters = [row["question"] for row in rows]
    interval = mean_interval([row["score"] for row in rows], clusters)
    counts = {"rows": len(rows), "distinct": len(set(clusters)), "unparsed": sum(row["parsed"] is None for row in rows)}
    return asdict(interval) | counts
