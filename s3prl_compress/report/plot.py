"""Plots of score against cost, as inline SVG that the page's style sheet colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from markupsafe import Markup

from .costs import CostAxis, drawable, pareto_front
from .labels import Box, place, without_common_start
from .rows import Entry
from .scales import Scale, cost_scale, score_scale
from .series import Look, method_of
from .tooltip import tooltip_text

WIDTH, HEIGHT = 400, 300
SIGNIFICANCE_STYLES = {True: "differs", False: "open", None: "untested"}
"""Classes of a compressed row's marker, by the result of the test against dense."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 390, 12, 256
_LETTER, _LINE = 6.4, 12.0  # generous size of a label's letters, whatever font a browser has


@dataclass(frozen=True)
class Plot:
    """One drawing: a score against one cost."""

    cost: str
    """Key of the cost's choice."""
    svg: Markup
    numbered: bool
    """Points are labelled with the numbers of the table's rows, because names did not fit."""


@dataclass(frozen=True)
class _Point:
    row: Entry
    look: Look
    x: float
    y: float
    bar: tuple[float, float] | None
    """Ends of the score's interval, on the drawing."""
    level_bar: tuple[float, float] | None
    """Ends of the cost's interval."""


def cost_plots(rows: Sequence[Entry], looks: Mapping[str, Look], prefix: str) -> list[Plot]:
    """Draw the score against every cost that at least two of the rows have.

    Up and left is better, for error rates too: their axis is inverted. Points are labelled with the
    upstreams' names without their common start, or with the rows' numbers if names do not fit.

    Args:
        rows: of one block, or of the overview.
        looks: colours and markers by method.
        prefix: start of all ids, which differs from that of other plots on the page.
    """
    scored = [row for row in rows if row.score is not None]
    return [
        _plot(some, axis, looks, f"{prefix}-{axis.key}") for axis, some in drawable(scored).items()
    ]


def _plot(rows: list[Entry], axis: CostAxis, looks: Mapping[str, Look], name: str) -> Plot:
    across, up = _scales(rows, axis)
    points = [_point(row, axis, across, up, looks[method_of(row)]) for row in rows]
    ways = (without_common_start(rows), {row.row: str(row.row) for row in rows})
    front = [point for row in pareto_front(rows, axis) for point in points if point.row is row]
    bars = [box for point in points for box in _bars(point)]
    # Labels should cover nothing. If there is no room they may cross the front, then error bars;
    # if even that fails, numbers take the place of names.
    attempts: tuple[list[Box], ...] = ([*bars, *_stair_boxes(front)], bars, [])
    for words, avoided in product(ways, attempts):
        placed = _labels(points, words, avoided)
        if placed is not None:
            break
    leaders, labels = placed or ([], [])
    parts = [
        *_grid(rows, axis, across, up),
        *_lines(rows, up),
        _front(front),
        *leaders,
        *(_drawn(point, name, point in front) for point in points),
        *labels,
    ]
    label = f"{rows[0].metric} against {axis.label}"
    start = Markup('<svg role="group" aria-label="{}" viewBox="0 0 {} {}">')
    svg = start.format(label, WIDTH, HEIGHT) + Markup("\n").join(parts) + Markup("</svg>")
    return Plot(axis.key, svg, words is ways[-1])


def _scales(rows: list[Entry], axis: CostAxis) -> tuple[Scale, Scale]:
    costs = [axis.value(row) or 0.0 for row in rows]
    costs += [end for row in rows for end in axis.interval(row) or ()]
    intervals = [_interval(row) or (_score(row), _score(row)) for row in rows]
    lows, highs = zip(*intervals, strict=True)
    ends = (_BOTTOM, _TOP) if rows[0].higher_is_better else (_TOP, _BOTTOM)
    return cost_scale(costs, _LEFT, _RIGHT), score_scale(lows, highs, *ends)


def _interval(row: Entry) -> tuple[float, float] | None:
    """Return the score's 95 % interval; without one of its own, the normal one of its error."""
    if row.score_low is not None and row.score_high is not None:
        return row.score_low, row.score_high
    if row.standard_error is None:
        return None
    half = 1.96 * row.standard_error
    return _score(row) - half, _score(row) + half


def _score(row: Entry) -> float:
    """Return the score of a row that is drawn: rows without one are left out before."""
    assert row.score is not None
    return row.score


def _point(row: Entry, axis: CostAxis, across: Scale, up: Scale, shape: Look) -> _Point:
    interval, level = _interval(row), axis.interval(row)
    return _Point(
        row=row,
        look=shape,
        x=across.place(axis.value(row) or 0.0),
        y=up.place(_score(row)),
        bar=None if interval is None else (up.place(interval[0]), up.place(interval[1])),
        level_bar=None if level is None else (across.place(level[0]), across.place(level[1])),
    )


def _grid(rows: list[Entry], axis: CostAxis, across: Scale, up: Scale) -> list[Markup]:
    """Return the grid lines, the tick labels and the axis titles."""
    line = Markup('<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>')
    parts = [line.format(_LEFT, up.place(tick), _RIGHT) for tick in up.ticks()]
    text = Markup('<text class="tick{}" x="{:.1f}" y="{:.1f}">{:g}</text>')
    parts += [text.format(" left", _LEFT - 6, up.place(t) + 3.5, t) for t in up.ticks()]
    size, label = axis.unit(max(axis.value(row) or 0.0 for row in rows))
    parts += [text.format("", across.place(t), _BOTTOM + 15, t / size) for t in across.ticks()]
    middle = (_LEFT + _RIGHT) / 2
    title = Markup('<text class="axis" x="{:.1f}" y="{:.1f}">{}</text>')
    parts.append(title.format(middle, HEIGHT - 8, label))
    turned = Markup('<text class="axis" transform="translate(11 {:.1f}) rotate(-90)">{}</text>')
    metric = rows[0].metric + ("" if rows[0].higher_is_better else " (inverted)")
    return [*parts, turned.format((_TOP + _BOTTOM) / 2, metric)]


def _lines(rows: list[Entry], up: Scale) -> list[Markup]:
    """Return the horizontal lines of dense and of chance, where they are within the axes."""
    line = Markup('<path class="{}" d="M{:.1f} {:.1f}H{:.1f}"/>')
    levels = [("dense-line", _score(row)) for row in rows if row.reference]
    dense = levels if len(levels) == 1 else []
    levels, chance = list(dense), rows[0].chance
    if chance is not None and up.low < chance < up.high:
        levels.append(("chance-line", chance))
    return [line.format(style, _LEFT, up.place(level), _RIGHT) for style, level in levels]


def _front(points: Sequence[_Point]) -> Markup:
    """Return the Pareto front: a stepped line through its points, and the area below it."""
    if not points:
        return Markup("")
    stair = f"M{points[0].x:.1f} {points[0].y:.1f}"
    stair += "".join(f"H{point.x:.1f}V{point.y:.1f}" for point in points[1:])
    stair += f"H{_RIGHT}"
    area = f"{stair}V{_BOTTOM}H{points[0].x:.1f}z"
    return Markup('<path class="beaten" d="{}"/><path class="front" d="{}"/>').format(area, stair)


def _drawn(point: _Point, name: str, on_front: bool) -> Markup:
    """Return a point with its intervals; it can be hovered, tapped and focused by keyboard."""
    bars = []
    if point.bar is not None:
        bars.append(f"M{point.x:.1f} {point.bar[0]:.1f}V{point.bar[1]:.1f}")
    if point.level_bar is not None:
        bars.append(f"M{point.level_bar[0]:.1f} {point.y:.1f}H{point.level_bar[1]:.1f}")
    styles = ["point", point.look.style]
    styles += [SIGNIFICANCE_STYLES[point.row.significant]] if point.row.methods else []
    styles += ["on-front"] if on_front else []
    return Markup(
        '<g class="{}" id="{}-point-{}" data-row="{}" data-upstream="{}" role="img" tabindex="0">'
        '<title>{}</title><path class="bar" d="{}"/>'
        '<circle class="halo" cx="{:.1f}" cy="{:.1f}" r="10"/>'
        '<path class="marker" transform="translate({:.1f} {:.1f})" d="{}"/></g>'
    ).format(
        " ".join(styles),
        name,
        point.row.row,
        point.row.row,
        point.row.upstream,
        tooltip_text(point.row),
        "".join(bars),
        point.x,
        point.y,
        point.x,
        point.y,
        point.look.outline,
    )


def _labels(
    points: Sequence[_Point], words: Mapping[int, str], avoided: Sequence[Box]
) -> tuple[list[Markup], list[Markup]] | None:
    """Return leader lines and each point's label; None if there is no room for all of them."""
    texts = [words[point.row.row] for point in points]
    sizes = [(_LETTER * len(text), _LINE) for text in texts]
    # In `place` y grows upwards, in SVG downwards.
    spots = [(point.x, -point.y) for point in points]
    inside = (float(_LEFT), float(-_BOTTOM), float(WIDTH), float(-_TOP + 10))
    markers = [(point.x - 5, -point.y - 5, point.x + 5, -point.y + 5) for point in points]
    obstacles = [*avoided, *markers]
    places = place(spots, sizes, obstacles, inside)
    if places is None:
        return None
    leaders, labels = [], []
    for point, text, spot, (width, height) in zip(points, texts, places, sizes, strict=True):
        left, bottom = spot.x, -spot.y
        if spot.far:
            x = min(max(point.x, left), left + width)
            y = min(max(point.y, bottom - height), bottom)
            leader = Markup('<path class="leader" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>')
            leaders.append(leader.format(point.x, point.y, x, y))
        label = Markup(
            '<text class="label" data-row="{}" data-upstream="{}" x="{:.1f}" y="{:.1f}">{}</text>'
        )
        names = (point.row.row, point.row.upstream)
        labels.append(label.format(*names, left + width / 2, bottom - 2.5, text))
    return leaders, labels


def _stair_boxes(points: Sequence[_Point]) -> list[Box]:
    """Return the boxes of the Pareto front's lines; y grows upwards."""
    ends = [*(point.x for point in points[1:]), float(_RIGHT)]
    level = [(p.x, -p.y - 1, end, -p.y + 1) for p, end in zip(points, ends, strict=True)]
    steps = pairwise(points)
    upright = [(new.x - 1, -old.y, new.x + 1, -new.y) for old, new in steps]
    return [*level, *upright]


def _bars(point: _Point) -> list[Box]:
    """Return the boxes of a point's intervals; y grows upwards."""
    x, y = point.x, -point.y
    boxes = []
    if point.bar is not None:
        low, high = sorted(-end for end in point.bar)
        boxes.append((x - 1.5, low, x + 1.5, high))
    if point.level_bar is not None:
        boxes.append((point.level_bar[0], y - 1.5, point.level_bar[1], y + 1.5))
    return boxes
