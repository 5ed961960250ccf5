"""A comparison for the terminal. Answers come from models: they are stripped of control characters and never read as markup."""

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from data_contracts.plain import safe
from tasks.summary import MISSING


def render(found: dict[str, Any]) -> Iterator[RenderableType]:
    """Line by line and table by table, A before B."""
    for side in "ab":
        yield Text(f"{side.upper()}  {found[side]['label']}  model {found[side]['model']}")
    yield _table("configuration", ["key", "A", "B"], [[r["key"], _show(r["a"]), _show(r["b"])] for r in found["config"]])
    for title, part in (("software and machine", "software"), ("data and training", "data")):
        yield _table(title, ["", "A", "B"], [[r["what"], _show(r["a"]), _show(r["b"])] for r in found[part]])
    scores = [
        [r["metric"], str(r["questions"]), f"{r['a']:.3f}", f"{r['b']:.3f}", _interval(r["gain"], r), _p(r["p"]), _verdict(r)]
        for r in found["scores"]
    ]
    if scores:
        yield _table("scores", ["metric", "questions", "A", "B", "gain (95 % interval)", "p", ""], scores)
    if (others := len(scores) - 1) > 0:
        yield Text(
            f"significant is p below 0.05: of the first row by itself, of the other {others} adjusted for their number (Holm)"
        )
    for rate in found["win_rates"]:
        interval = f"{rate['win_rate']:.3f} ({rate['low']:.3f} to {rate['high']:.3f})"
        yield Text(f"win rate of {rate['of']} against {rate['against']}: {interval}, judge {rate['judge']}")
    for name in ("wrong_to_right", "right_to_wrong"):
        if found["answers"]:
            yield from _examples(name.replace("_", " "), found["answers"][name])
    yield from (Text(f"note: {note}") for note in found["notes"])


def _examples(title: str, some: dict[str, Any]) -> Iterator[RenderableType]:
    yield Text(f"\n{title}: {some['answers']} answers", style="bold")
    for example in some["examples"]:
        yield Text(f"  {safe(example['question_id'])}  {safe(example['prompt'])}")
        yield Text(f"    A  {safe(example['a'])}\n    B  {safe(example['b'])}", style="dim")


def _table(title: str, names: list[str], rows: list[list[str]]) -> RenderableType:
    if not rows:
        return Text(f"{title}: nothing differs")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for name in names:
        table.add_column(name, justify="right" if name in ("questions", "gain (95 % interval)", "p") else "left")
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    return table


def _interval(mean: float, row: dict[str, Any]) -> str:
    return f"{mean:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _verdict(row: dict[str, Any]) -> str:
    return ("B is better" if row["gain"] > 0 else "A is better") if row["significant"] else "not significant"


def _show(value: Any) -> str:
    return MISSING if value is None else f"{value:.4g}" if isinstance(value, float) else safe(str(value))
