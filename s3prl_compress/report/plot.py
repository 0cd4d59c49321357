"""Plots of score against cost, as inline SVG that the page's style sheet colours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.cbook import pts_to_poststep
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import IdentityTransform

from .costs import CostAxis, drawable, pareto_front
from .labels import Box, place, without_common_start
from .rows import Entry
from .series import Look, method_of
from .svg import inline_svg
from .tooltip import tooltip_text

WIDTH, HEIGHT = 400, 300
LOG_RATIO = 10.0
"""Costs that differ by more than this are drawn on a logarithmic axis."""
_LEAST_RANGE = 1e-6
"""Percent: a vertical axis never covers less."""
SIGNIFICANCE_STYLES = {True: "differs", False: "open", None: "untested"}
"""Classes of a compressed row's marker, by the result of the test against dense."""
_LEFT, _BOTTOM, _RIGHT, _TOP = 46, 44, 390, 288
_LETTER, _LINE = 6.4, 12.0  # generous size of a label's letters, whatever font a browser has
_HALO = Look("o", 20.0, "halo")

_Corners = Sequence[tuple[float, float]]


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
    x: float
    y: float
    bars: tuple[_Corners, ...]
    """Ends of the lines that show the intervals of the score and of the cost."""


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
    with style.context("default"):  # whatever the user's matplotlibrc says
        return [
            _plot(some, axis, looks, f"{prefix}-{axis.key}")
            for axis, some in drawable(scored).items()
        ]


@cache
def outline(look: Look) -> str:
    """Return the SVG path of a look's marker around (0, 0), for a legend."""
    figure = Figure(dpi=72, frameon=False)
    figure.add_artist(_marker(0.0, 0.0, look, gid="marker"))
    drawn = re.search(' d="([^"]+)"', inline_svg(figure, "", {}))
    return drawn[1] if drawn else ""


def _plot(rows: list[Entry], axis: CostAxis, looks: Mapping[str, Look], name: str) -> Plot:
    figure = Figure((WIDTH / 72, HEIGHT / 72), dpi=72, frameon=False)
    frame = (_LEFT / WIDTH, _BOTTOM / HEIGHT, (_RIGHT - _LEFT) / WIDTH, (_TOP - _BOTTOM) / HEIGHT)
    axes = figure.add_axes(frame)
    points = [_point(row, axis) for row in rows]
    for point in points:
        _draw(axes, point, looks[method_of(point.row)])
    _scale(axes, rows, axis)
    best = pareto_front(rows, axis)
    front = _lines(axes, rows, [point for row in best for point in points if point.row is row])
    names, numbers = without_common_start(rows), {row.row: str(row.row) for row in rows}
    # Labels should cover nothing. If there is no room they may cross the front, then error bars;
    # if even that fails, numbers take the place of names.
    bars = [bar for point in points for bar in point.bars]
    for words, avoided in product((names, numbers), ([*bars, *pairwise(front)], bars, [])):
        if _label(axes, points, words, avoided):
            break
    groups = {}
    for row in rows:
        found = {"data-row": str(row.row), "data-upstream": row.upstream}
        styles = ["point", looks[method_of(row)].style]
        styles += [SIGNIFICANCE_STYLES[row.significant]] if row.methods else []
        styles += ["on-front"] if row in best else []
        groups[f"label-{row.row}"] = found
        groups[f"point-{row.row}"] = {
            "class": " ".join(styles),
            "id": f"{name}-point-{row.row}",
            **found,
            "role": "img",
            "tabindex": "0",  # for the keyboard
            "title": tooltip_text(row),
        }
    svg = inline_svg(figure, f"{rows[0].metric} against {axis.label}", groups)
    return Plot(axis.key, svg, words is numbers)


def _point(row: Entry, axis: CostAxis) -> _Point:
    x, y = axis.value(row) or 0.0, row.score or 0.0
    bars = []
    if interval := _interval(row):
        bars.append([(x, end) for end in interval])
    if level := axis.interval(row):
        bars.append([(end, y) for end in level])
    return _Point(row, x, y, tuple(bars))


def _interval(row: Entry) -> tuple[float, float] | None:
    """Return the score's 95 % interval; without one of its own, the normal one of its error."""
    if row.score_low is not None and row.score_high is not None:
        return row.score_low, row.score_high
    if row.standard_error is None or row.score is None:
        return None
    half = 1.96 * row.standard_error
    return row.score - half, row.score + half


def _draw(axes: Axes, point: _Point, look: Look) -> None:
    """Draw a point with its intervals, in front of the lines."""
    group = f"point-{point.row.row}"
    for bar in point.bars:
        axes.plot(*zip(*bar, strict=True), gid=f"{group}/bar", zorder=3)
    axes.add_line(_marker(point.x, point.y, _HALO, gid=f"{group}/halo"))
    axes.add_line(_marker(point.x, point.y, look, gid=f"{group}/marker"))


def _marker(x: float, y: float, look: Look, gid: str) -> Line2D:
    line = Line2D([x], [y], linestyle="", marker=look.marker, markersize=look.size)
    line.set(gid=gid, zorder=3)
    return line


def _scale(axes: Axes, rows: list[Entry], axis: CostAxis) -> None:
    """Fix the axes' ranges, and give them grid lines, tick labels and titles."""
    axes.margins(x=0.14, y=0.12)
    bottom, top = axes.get_ylim()
    if top - bottom < _LEAST_RANGE:  # else the ticks would fall between two floating-point numbers
        middle = (bottom + top) / 2.0
        axes.set_ylim(middle - _LEAST_RANGE / 2.0, middle + _LEAST_RANGE / 2.0)
    low, high = axes.dataLim.intervalx
    for one in (axes.xaxis, axes.yaxis):
        one.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
    if high > LOG_RATIO * low > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    size, label = axis.unit(max(axis.value(row) or 0.0 for row in rows))
    axes.xaxis.set_major_formatter(lambda tick, _: f"{tick / size:g}")
    axes.yaxis.set_major_formatter(lambda tick, _: f"{tick:g}")
    metric = rows[0].metric
    if not rows[0].higher_is_better:
        axes.yaxis.set_inverted(True)
        metric += " (inverted)"
    for title in (axes.set_xlabel(label), axes.set_ylabel(metric)):
        title.set(gid="axis", fontsize=11, verticalalignment="baseline", parse_math=False)
    axes.xaxis.set_label_coords((_LEFT + _RIGHT) / 2, 8, transform=IdentityTransform())
    axes.yaxis.set_label_coords(11, (_BOTTOM + _TOP) / 2, transform=IdentityTransform())
    axes.tick_params(left=False, bottom=False, labelsize=11, pad=6)
    axes.grid(axis="y")
    for artists, gid in (
        (axes.get_ygridlines(), "grid"),
        (axes.get_xticklabels(), "tick"),
        (axes.get_yticklabels(), "tick left"),
    ):
        for artist in artists:
            artist.set_gid(gid)
    axes.set_frame_on(False)


def _lines(axes: Axes, rows: list[Entry], front: Sequence[_Point]) -> _Corners:
    """Draw dense, chance where it is within the axes, and the Pareto front; return its corners."""
    end, (low, high) = axes.get_xlim()[1], axes.get_ylim()
    dense = [row.score for row in rows if row.reference and row.score is not None]
    if len(dense) == 1:
        axes.axhline(dense[0], gid="dense-line")
    chance = rows[0].chance
    if chance is not None and min(low, high) < chance < max(low, high):
        axes.axhline(chance, gid="chance-line")
    if not front:
        return []
    last = (end, front[-1].y)
    x, y = pts_to_poststep(*zip(*((point.x, point.y) for point in front), last, strict=True))
    axes.fill_between(x, y, low, gid="beaten")
    axes.plot(x, y, gid="front")
    return list(zip(x, y, strict=True))


def _label(
    axes: Axes, points: Sequence[_Point], words: Mapping[int, str], avoided: Sequence[_Corners]
) -> bool:
    """Label the points; return False, and draw nothing, if there is no room for all labels."""
    sizes = [(_LETTER * len(words[point.row.row]), _LINE) for point in points]
    spots = axes.transData.transform([(point.x, point.y) for point in points]).tolist()
    markers = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    obstacles = [*(_box(axes, ends) for ends in avoided), *markers]
    places = place(spots, sizes, obstacles, (_LEFT, _BOTTOM, WIDTH, HEIGHT - 2))
    for point, spot, (width, height) in zip(points, places or [], sizes, strict=places is not None):
        label = axes.annotate(
            words[point.row.row],
            (point.x, point.y),
            (spot.x + width / 2, spot.y + height / 2),
            textcoords="figure pixels",
            horizontalalignment="center",
            verticalalignment="center_baseline",
            fontsize=11,
            arrowprops={"arrowstyle": "-", "shrinkA": 0, "shrinkB": 5} if spot.far else None,
            parse_math=False,
            gid=f"label-{point.row.row}/label",
            zorder=4,
        )
        if label.arrow_patch is not None:
            label.arrow_patch.set_gid(f"label-{point.row.row}/leader")
    return places is not None


def _box(axes: Axes, ends: _Corners) -> Box:
    """Return the box around a thin line, in units of the drawing; y grows upwards."""
    (left, bottom), (right, top) = sorted(axes.transData.transform(ends).tolist())
    return left - 1, min(bottom, top) - 1, right + 1, max(bottom, top) + 1
