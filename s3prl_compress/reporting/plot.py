"""Score against cost as an SVG that takes its colours from the page it stands in."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from . import formats
from .labels import Box, place

SERIES = 6
"""Colours and markers there are, for methods; more methods begin again."""

# Colours that nobody would choose: each is replaced by a variable of the page's style sheet.
_INK, _MUTED, _RULE = "#010101", "#020202", "#030303"
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _RULE: "--rule"}
_SERIES_COLOURS = [f"#0400{number:02x}" for number in range(1, SERIES + 1)]
_VARIABLES |= {colour: f"--series-{n}" for n, colour in enumerate(_SERIES_COLOURS, start=1)}
_MARKERS = ("o", "s", "^", "D", "v", "P")

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # wider than what browsers use: labels never meet
    "font.size": 8,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
}


@dataclass(frozen=True)
class CostAxis:
    """A cost that a score can be drawn against."""

    key: str
    label: str

    def value(self, row: dict[str, Any]) -> float | None:
        """Return a row's cost, None where it is not known."""
        if self.key == "milliseconds":
            return None if not row.get("rtfx") else 1000 / row["rtfx"]
        return None if row.get(self.key) is None else float(row[self.key])


COSTS = (
    CostAxis("parameters", "parameters"),
    CostAxis("macs_32", "multiply-adds, 32 utterances"),
    CostAxis("milliseconds", "milliseconds per second of audio"),
)


def method_of(row: dict[str, Any]) -> str:
    """Return the names of a row's methods without their settings; "dense" without any."""
    steps = [step for step in re.split(r" \+ ", row["methods"]) if step]
    names = [match.group() for step in steps if (match := re.match(r"[A-Za-z_][\w-]*", step))]
    return " + ".join(names) or "dense"


def series_of(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Number the methods among the rows from 0, in alphabetical order; dense is none of them."""
    names = sorted({method_of(row) for row in rows} - {"dense"})
    return {name: number % SERIES for number, name in enumerate(names)}


def cost_plots(rows: Sequence[dict[str, Any]], prefix: str) -> list[str]:
    """Return an SVG for every cost that at least two of the rows have.

    `prefix` keeps the ids apart from those of other drawings on the page.
    """
    plots = []
    for axis in COSTS:
        known = [row for row in rows if axis.value(row) is not None]
        if len(known) > 1:
            plots.append(_svg(_figure(known, axis, series_of(rows)), f"{prefix}-{axis.key}", known))
    return plots


def _figure(rows: Sequence[dict[str, Any]], axis: CostAxis, series: dict[str, int]) -> Figure:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.3, 3.3), dpi=72, layout="constrained")
        canvas = FigureCanvasAgg(figure)  # measures texts; the SVG is written from it
        axes = figure.add_subplot()
        costs = [axis.value(row) or 0.0 for row in rows]
        for row, cost in zip(rows, costs, strict=True):
            _point(axes, row, cost, series)
        _scales(axes, rows, costs, axis)
        canvas.draw()
        figure.set_layout_engine("none")  # what is placed below must stay where it is
        _labels(canvas, axes, rows, costs)
        return figure


def _point(axes: Axes, row: dict[str, Any], cost: float, series: dict[str, int]) -> None:
    number = series.get(method_of(row), 0)
    dense = row["reference"]
    colour = _INK if dense else _SERIES_COLOURS[number]
    if dense:
        axes.axhline(row["score"], color=_MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    drawn = axes.errorbar(
        [cost],
        [row["score"]],
        yerr=[row["standard_error"]],
        color=colour,
        marker="D" if dense else _MARKERS[number],
        markersize=6,
        markerfacecolor="none" if dense else colour,
        elinewidth=1.0,
        capsize=2.5,
        zorder=3,
    )
    drawn.lines[0].set_gid(f"point-{row['row']}")


def _scales(
    axes: Axes, rows: Sequence[dict[str, Any]], costs: Sequence[float], axis: CostAxis
) -> None:
    low = min(row["score"] - row["standard_error"] for row in rows)
    high = max(row["score"] + row["standard_error"] for row in rows)
    room = 0.18 * ((high - low) or 1.0)
    axes.set_ylim(low - room, high + room)
    chance = rows[0]["chance"]
    if low - room < chance < high + room:
        axes.axhline(chance, color=_MUTED, linewidth=0.8, linestyle=":", zorder=1, gid="chance")
    spread = (max(costs) - min(costs)) or max(costs) or 1.0
    if min(costs) > 0 and max(costs) / min(costs) > 20:
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.6, max(costs) * 1.6)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(max(0.0, min(costs) - 0.16 * spread), max(costs) + 0.16 * spread)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(True, color=_RULE, linewidth=0.5, alpha=0.5, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel(axis.label)
    axes.set_ylabel(rows[0]["metric"])


def _tick(value: float) -> str:
    text = formats.count(value) if value >= 1000 else f"{value:g}"
    return re.sub(r"(\.\d*?)0+(?=\D|$)", r"\1", text).replace(". ", " ").rstrip(".")


def _labels(
    canvas: FigureCanvasAgg, axes: Axes, rows: Sequence[dict[str, Any]], costs: Sequence[float]
) -> None:
    """Write each point's name beside it, or, where names do not fit, each one's row number."""
    to_pixels = axes.transData.transform
    points = [tuple(to_pixels((cost, row["score"]))) for row, cost in zip(rows, costs, strict=True)]
    obstacles: list[Box] = []
    for row, cost, (x, y) in zip(rows, costs, points, strict=True):
        top = to_pixels((cost, row["score"] + row["standard_error"]))[1]
        obstacles += [(x - 4, y - 4, x + 4, y + 4), (x - 2, 2 * y - top, x + 2, top)]
    frame = axes.get_window_extent()
    inside = (frame.x0, frame.y0, frame.x1, frame.y1)
    figure, renderer = canvas.figure, canvas.get_renderer()
    for words in ([row["upstream"] for row in rows], [str(row["row"]) for row in rows]):
        texts = [figure.text(0, 0, word, fontsize=7.5) for word in words]
        boxes = [text.get_window_extent(renderer) for text in texts]
        places = place(points, [(box.width, box.height) for box in boxes], obstacles, inside)
        if places is not None or words[0] == str(rows[0]["row"]):
            break
        for text in texts:
            text.remove()
    if places is None:  # hundreds of points: hover text and the table have to do
        for text in texts:
            text.remove()
        return
    back = figure.transFigure.inverted().transform
    for text, found, box, point in zip(texts, places, boxes, points, strict=True):
        x, y = back((found.x - box.x0, found.y - box.y0))
        text.set_position((float(x), float(y)))
        if found.far:
            _leader(figure, point, (found.x, found.y, found.x + box.width, found.y + box.height))


def _leader(figure: Figure, point: tuple[float, ...], box: Box) -> None:
    """Draw a thin line from a point to the nearest spot of its label."""
    from matplotlib.lines import Line2D

    nearest = (min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3]))
    back = figure.transFigure.inverted().transform
    (x0, y0), (x1, y1) = back((point[0], point[1])), back(nearest)
    figure.add_artist(Line2D([x0, x1], [y0, y1], color=_MUTED, linewidth=0.6, zorder=2))


def _svg(figure: Figure, prefix: str, rows: Sequence[dict[str, Any]]) -> str:
    """Write the figure as an element of a page: own ids, the page's colours, hover text."""
    target = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": prefix}):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)  # inline, an element needs no namespaces and no size
    text = re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", opening) + ">" + rest
    text = text.replace("xlink:href", "href")
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    for row in rows:
        opening = f'<g id="{prefix}-point-{row["row"]}">'
        text = text.replace(opening, f"{opening}<title>{escape(_hover(row))}</title>")
    label = escape(f"{rows[0]['metric']} against {prefix.rsplit('-', 1)[-1]}", quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _hover(row: dict[str, Any]) -> str:
    lines = [
        row["upstream"],
        row["methods"] or "dense",
        f"{row['metric']} {row['score']:.2f} \N{PLUS-MINUS SIGN} {row['standard_error']:.2f}",
        f"engine {row['engine']}, padding {row['padding']}, seeds {row['seeds']}, "
        f"learning rate {row['learning_rate']}",
        f"{row['date']}, {row['machine']}",
    ]
    return "\n".join(lines)
