"""Charts for the report as inline SVG: no library, no script, colours from the page's CSS, so that light and dark both work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 460, 270
_LEFT, _RIGHT, _BOTTOM = 68, 14, 46  # on the left: numbers such as 0.075, and the axis's name
_BREADTH = _WIDTH - _LEFT - _RIGHT
_LINE, _CHARACTER = 20, 8.2  # of the legend, in the larger letters of a narrow screen
_MOST_POINTS = 300
_MOST_LETTERS = 36  # of a name in the legend: its last ones, since names are often paths
_MARKS = {  # what tells series apart beside their colours, around 0, 0
    "s1": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "s2": "M-3.7 -3.7h7.4v7.4h-7.4Z",
    "s3": "M0 -5.2L5.2 0L0 5.2L-5.2 0Z",
    "s4": "M0 -5L4.9 3.8H-4.9Z",
}


@dataclass(frozen=True)
class Series:
    """`style` names a CSS class (`s1` … `s4`); `bars`, where given, are the (low, high) of each point."""

    label: str
    style: str
    points: Sequence[tuple[float, float]]
    bars: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class _Frame:
    """Where values lie on the picture: its height, what the legend leaves free at the top, and the ranges of both axes."""

    height: int
    top: int
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0]) * _BREADTH
        up = (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - self.top - _BOTTOM)
        return round(_LEFT + across, 1), round(self.height - _BOTTOM - up, 1)


def chart(title: str, x_label: str, y_label: str, series: Sequence[Series], x_names: Sequence[str] = ()) -> Markup:
    """An SVG line chart with axes, units and a legend.

    With `x_names` the x axis counts those names from 0. Where all its values are whole numbers, so are its ticks.
    """
    series = [s for s in (_finite(s) for s in series) if s.points]
    if not series:
        return Markup('<p class="quiet">nothing to draw</p>')
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points] + [y for s in series for bar in s.bars for y in bar]
    whole = all(float(x).is_integer() for x in xs)
    x_range = (-0.5, len(x_names) - 0.5) if x_names else _spread(min(xs), max(xs), 0.5 if whole else None)
    y_ticks = ticks(*_spread(min(ys), max(ys)))
    keys, rows = _placed([] if len(series) == 1 and series[0].label in title.lower() else series)
    height, top = _HEIGHT + _LINE * (rows - 1), 14 + _LINE * rows
    frame = _Frame(height, top, x_range, (min(y_ticks[0], *ys), max(y_ticks[-1], *ys)))
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, height, title),
        Markup("<title>{}</title>").format(title),
        *_y_axis(frame, y_ticks, y_label),
        *_x_axis(frame, _x_ticks(frame, whole, x_names), x_label),
        *_lines(frame, series, beside=bool(x_names)),
        *keys,
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def _y_axis(frame: _Frame, values: Sequence[float], label: str) -> list[Markup]:
    """A grid line and a number a tick, and the axis's name turned upright."""
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    text = Markup('<text x="{}" y="{}" text-anchor="end" dy=".32em">{}</text>')
    parts = []
    for value, name in zip(values, labels(values), strict=True):
        x, y = frame.at(frame.x[0], value)
        parts += [line.format(x, _WIDTH - _RIGHT, y, y), text.format(x - 7, y, name)]
    middle = (frame.top + frame.height - _BOTTOM) / 2
    upright = Markup('<text class="axis" transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>')
    return [*parts, upright.format(middle, label)]


def _x_ticks(frame: _Frame, whole: bool, names: Sequence[str]) -> Sequence[tuple[float, str]]:
    """Numbers, or as many of the names as have room."""
    if names:
        every = math.ceil(max(map(_wide, names)) * len(names) / _BREADTH)
        return list(enumerate(names))[::every]
    values = [value for value in ticks(*frame.x, whole) if frame.x[0] <= value <= frame.x[1]]
    return list(zip(values, labels(values), strict=True))


def _x_axis(frame: _Frame, named: Sequence[tuple[float, str]], label: str) -> list[Markup]:
    text, y = Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>'), frame.height - _BOTTOM + 18
    parts = [text.format(frame.at(value, frame.y[0])[0], y, name) for value, name in named]
    axis = Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>')
    return [*parts, axis.format((_LEFT + _WIDTH - _RIGHT) / 2, frame.height - 6, label)]


def _lines(frame: _Frame, series: Sequence[Series], beside: bool) -> list[Markup]:
    """Every series; with `beside`, intervals at the same place stand beside each other and not on top."""
    measured = [s for s in series if s.bars]
    apart = min(0.25, 12 * (frame.x[1] - frame.x[0]) / _BREADTH)
    parts = []
    for s in series:
        shift = (measured.index(s) - (len(measured) - 1) / 2) * apart if s.bars and beside else 0.0
        points = [frame.at(x + shift, y) for x, y in s.points]
        parts.append(_drawn(s, points, [(frame.at(0, low)[1], frame.at(0, high)[1]) for low, high in s.bars]))
    return parts


def number(value: float) -> str:
    """Short and unambiguous: `0.25`, `1200`, `2e-05`."""
    return f"{value + 0.0:.6g}" if value else "0"


def labels(values: Sequence[float]) -> list[str]:
    """Ticks as text, all with the same decimals: `0.500`, `0.525`."""
    texts = [number(value) for value in values]
    if any("e" in text for text in texts):
        return texts
    digits = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [f"{value + 0.0:.{digits}f}" for value in values]


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """About five round numbers that enclose [low, high]; `whole`: whole ones."""
    raw = max((high - low) / 5, 1.0 if whole else 0.0)
    scale = 10 ** math.floor(math.log10(raw))
    step = next(m * scale for m in ((1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)) if m * scale >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _spread(low: float, high: float, around: float | None = None) -> tuple[float, float]:
    """The range itself, or one around a single value."""
    around = around or abs(low) * 0.1 or 1.0
    return (low, high) if high > low else (low - around, high + around)


def _finite(s: Series) -> Series:
    """Without missing values, and thinned to bucket means where a line would have more points than the page has pixels."""
    points = [(x, y) for x, y in s.points if y is not None and math.isfinite(y)]
    if s.bars or len(points) <= _MOST_POINTS:
        return Series(s.label, s.style, points, s.bars)
    size = math.ceil(len(points) / _MOST_POINTS)
    buckets = [points[i : i + size] for i in range(0, len(points), size)]
    return Series(s.label, s.style, [(sum(x for x, _ in b) / len(b), sum(y for _, y in b) / len(b)) for b in buckets])


def _drawn(s: Series, points: Sequence[tuple[float, float]], bars: Sequence[tuple[float, float]]) -> Markup:
    parts = [Markup('<polyline class="line {}" points="{}"/>').format(s.style, " ".join(f"{x},{y}" for x, y in points))]
    for (x, _), (low, high) in zip(points, bars, strict=False):
        path = f"M{x} {low}V{high}M{x - 4} {low}h8M{x - 4} {high}h8"
        parts.append(Markup('<path class="bar {}" d="{}"/>').format(s.style, path))
    if bars or len(points) == 1:
        dot = Markup('<path class="dot {}" d="{}" transform="translate({} {})"><title>{}</title></path>')
        said = [f"{s.label} {value:.4g}" for _, value in s.points]
        said = [f"{text} ({low:.4g} to {high:.4g})" for text, (low, high) in zip(said, s.bars, strict=True)] if bars else said
        parts += [dot.format(s.style, _MARKS[s.style], x, y, text) for (x, y), text in zip(points, said, strict=True)]
    return Markup("").join(parts)


def _wide(text: str) -> float:
    return _CHARACTER * (len(text) + 1)


def _placed(series: Sequence[Series]) -> tuple[list[Markup], int]:
    """The legend's entries, and on how many lines: one that no longer fits begins a new one."""
    parts, x, row = [], float(_LEFT), 0
    for s in series:
        label = s.label if len(s.label) <= _MOST_LETTERS else f"…{s.label[1 - _MOST_LETTERS :]}"
        if x > _LEFT and x + 28 + _wide(label) > _WIDTH:
            x, row = float(_LEFT), row + 1
        y = 14 + _LINE * row
        parts.append(Markup('<line class="line {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(s.style, x, x + 22, y, y))
        parts.append(Markup('<text class="key" x="{}" y="{}" dy=".32em">{}</text>').format(x + 28, y, label))
        x += 40 + _wide(label)
    return parts, row + 1
