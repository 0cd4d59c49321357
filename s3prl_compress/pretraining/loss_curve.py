"""Plot of the loss curves of training runs."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.extras import require_extra
from ..common.files import write_atomically
from ..training.loop import Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"training": "#1f6feb", "validation": "#d1480a"}


def draw_curves(runs: Mapping[str, Progress], path: Path, quantities: Mapping[str, str]) -> Path:
    """Plot histories as a PNG, with one column per run and one row per quantity.

    Args:
        runs: histories by title.
        path: the PNG file.
        quantities: axis labels by name of the scalar.

    Raises:
        InputError: the extra `train` is not installed.
    """
    require_extra("train", "a plot of loss curves")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(runs), 2.6 * len(quantities)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(quantities), len(runs), squeeze=False, sharex="col")
    for column, (title, progress) in enumerate(runs.items()):
        axes[0][column].set_title(title)
        axes[-1][column].set_xlabel("step")
        for row, (quantity, label) in enumerate(quantities.items()):
            _draw(axes[row][column], progress, quantity)
            if column == 0:
                axes[row][column].set_ylabel(label)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
    return path


def _draw(axis: Axes, progress: Progress, quantity: str) -> None:
    for name, entries in (("training", progress.training), ("validation", progress.validation)):
        points = [(entry["step"], entry[quantity]) for entry in entries if quantity in entry]
        if points:
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) == 1 or name == "validation" else ""
            axis.plot(steps, values, label=name, color=_COLOURS[name], marker=marker, markersize=3)
    axis.grid(alpha=0.3)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    if axis.lines:
        axis.legend(frameon=False)
