"""Score against cost as an SVG that takes its colours from the page it stands in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .costs import CostAxis, drawable
from .labels import Box, place
from .svg import INK, MUTED, RULE, SERIES, SERIES_COLOURS, STYLE, svg

_MARKERS = ("o", "s", "^", "D", "v", "P")


def method_of(row: dict[str, Any]) -> str:
    """Return the names of a row's methods without their settings; "dense" without any."""
    names = re.findall(r"(?:^| \+ )([A-Za-z_][\w-]*)(?=\(|$| \+ )", row["methods"])
    return " + ".join(names) or "dense"


def series_of(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Number the methods among the rows from 0, in alphabetical order; dense is none of them."""
    names = sorted({method_of(row) for row in rows} - {"dense"})
    return {name: number for number, name in enumerate(names)}


def look(number: int) -> tuple[int, int]:
    """Return the colour and the marker of a method's number: 36 pairs before one comes again."""
    return number % SERIES, (number + number // SERIES) % SERIES


@dataclass(frozen=True)
class Plots:
    """The drawings of one block."""

    svgs: tuple[str, ...]
    numbered: bool
    """Points carry the numbers of the table's rows, names having had no room."""


def cost_plots(rows: Sequence[dict[str, Any]], prefix: str) -> Plots:
    """Draw the score against every cost that at least two of the rows have.

    The points carry the upstreams' names; where these do not fit into every plot, the names
    without what all begin with; else the rows' numbers. `prefix` keeps the ids apart from those
    of other drawings on the page.
    """
    drawn = drawable(rows)
    ways = (
        {row["row"]: row["upstream"] for row in rows},
        _without_common_start(rows),
        {row["row"]: str(row["row"]) for row in rows},
    )
    for words in ways:
        figures = [
            _figure(some, axis, series_of(rows), words, _score_range(rows))
            for axis, some in drawn.items()
        ]
        if all(fits for _, fits in figures):
            break
    svgs = (
        svg(figure, f"{prefix}-{axis.key}", some)
        for (axis, some), (figure, _) in zip(drawn.items(), figures, strict=True)
    )
    return Plots(tuple(svgs), words is ways[-1])


def _without_common_start(rows: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Shorten "base-fold10" to "fold10" where all compressed rows' names begin so.

    Names stay whole where the rest would be a bare number: that could be taken for a row's.
    """
    names = [row["upstream"] for row in rows if not row["reference"]]
    cut = 0
    for match in re.finditer(r"[-_./ ]", names[0] if names else ""):
        start = names[0][: match.end()]
        rests = [name[match.end() :] for name in names]
        if all(name.startswith(start) for name in names) and not any(map(_is_number, rests)):
            cut = match.end()
    return {row["row"]: row["upstream"][0 if row["reference"] else cut :] for row in rows}


def _is_number(text: str) -> bool:
    return not re.search(r"[^\W\d_]", text)


def _figure(
    rows: Sequence[dict[str, Any]],
    axis: CostAxis,
    series: dict[str, int],
    words: dict[int, str],
    scores: tuple[float, float],
) -> tuple[Figure, bool]:
    """Return the drawing, and whether its labels found room."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 3.4), dpi=72, layout="constrained")
        canvas = FigureCanvasAgg(figure)  # measures texts; the SVG is written from it
        axes = figure.add_subplot()
        costs = [axis.value(row) or 0.0 for row in rows]
        for row, cost in zip(rows, costs, strict=True):
            _point(axes, row, cost, axis.interval(row), series)
        _scales(axes, rows, costs, axis, scores)
        canvas.draw()
        figure.set_layout_engine("none")  # what is placed below must stay where it is
        fits = _labels(canvas, axes, rows, axis, [words[row["row"]] for row in rows])
        return figure, fits


def _point(
    axes: Axes,
    row: dict[str, Any],
    cost: float,
    interval: tuple[float, float] | None,
    series: dict[str, int],
) -> None:
    number = series.get(method_of(row), 0)
    dense = row["reference"]
    hue, marker = look(number)
    colour = INK if dense else SERIES_COLOURS[hue]
    if dense:
        axes.axhline(row["score"], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    drawn = axes.errorbar(
        [cost],
        [row["score"]],
        yerr=[row["standard_error"]],
        xerr=None if interval is None else [[cost - interval[0]], [interval[1] - cost]],
        color=colour,
        marker="D" if dense else _MARKERS[marker],
        markersize=6,
        markerfacecolor="none" if dense else colour,
        elinewidth=1.0,
        capsize=2.5,
        zorder=3,
    )
    drawn.lines[0].set_gid(f"point-{row['row']}")


def _score_range(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Return the ends of the score axis, the same for every plot of a block."""
    low = min(row["score"] - row["standard_error"] for row in rows)
    high = max(row["score"] + row["standard_error"] for row in rows)
    room = 0.18 * ((high - low) or 1.0)
    return low - room, high + room


def _scales(
    axes: Axes,
    rows: Sequence[dict[str, Any]],
    costs: Sequence[float],
    axis: CostAxis,
    scores: tuple[float, float],
) -> None:
    axes.set_ylim(*scores)
    chance = rows[0]["chance"]
    if scores[0] < chance < scores[1]:
        axes.axhline(chance, color=MUTED, linewidth=0.8, linestyle=":", zorder=1, gid="chance")
    ends = [end for row in rows for end in axis.interval(row) or ()]
    costs = [*costs, *ends]
    spread = (max(costs) - min(costs)) or max(costs) or 1.0
    if min(costs) > 0 and max(costs) / min(costs) > 20:
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.6, max(costs) * 1.6)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(max(0.0, min(costs) - 0.16 * spread), max(costs) + 0.16 * spread)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    size, label = axis.unit(max(costs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / size:g}"))
    axes.set_xlabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(True, color=RULE, linewidth=0.5, alpha=0.5, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_ylabel(rows[0]["metric"])


def _labels(
    canvas: FigureCanvasAgg,
    axes: Axes,
    rows: Sequence[dict[str, Any]],
    axis: CostAxis,
    words: Sequence[str],
) -> bool:
    """Write each point's word beside it; False, and none written, where there is no room."""
    to_pixels = axes.transData.transform
    costs = [axis.value(row) or 0.0 for row in rows]
    points = [tuple(to_pixels((cost, row["score"]))) for row, cost in zip(rows, costs, strict=True)]
    frame = axes.get_window_extent()
    inside = (frame.x0, frame.y0, frame.x1, frame.y1)
    obstacles: list[Box] = []
    for row, cost, (x, y) in zip(rows, costs, points, strict=True):
        top = to_pixels((cost, row["score"] + row["standard_error"]))[1]
        obstacles += [(x - 4, y - 4, x + 4, y + 4), (x - 2, 2 * y - top, x + 2, top)]
        if (interval := axis.interval(row)) is not None:
            left, right = (to_pixels((end, row["score"]))[0] for end in interval)
            obstacles.append((left, y - 2, right, y + 2))
        if row["reference"]:
            obstacles.append((frame.x0, y - 1, frame.x1, y + 1))
    figure, renderer = canvas.figure, canvas.get_renderer()
    texts = [figure.text(0, 0, word, fontsize=8.5, parse_math=False) for word in words]
    boxes = [text.get_window_extent(renderer) for text in texts]
    places = place(points, [(box.width, box.height) for box in boxes], obstacles, inside)
    if places is None:
        for text in texts:
            text.remove()
        return False
    back = figure.transFigure.inverted().transform
    for text, found, box, point in zip(texts, places, boxes, points, strict=True):
        x, y = back((found.x - box.x0, found.y - box.y0))
        text.set_position((float(x), float(y)))
        if found.far:
            _leader(figure, point, (found.x, found.y, found.x + box.width, found.y + box.height))
    return True


def _leader(figure: Figure, point: tuple[float, ...], box: Box) -> None:
    """Draw a thin line from a point to the nearest spot of its label."""
    from matplotlib.lines import Line2D

    nearest = (min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3]))
    back = figure.transFigure.inverted().transform
    (x0, y0), (x1, y1) = back((point[0], point[1])), back(nearest)
    figure.add_artist(Line2D([x0, x1], [y0, y1], color=MUTED, linewidth=0.6, zorder=2))
