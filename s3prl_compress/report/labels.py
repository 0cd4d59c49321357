"""Labels of a plot's points: their texts, and places where they cover nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .rows import Entry

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""

_DISTANCES = (5.0, 12.0, 22.0, 34.0, 48.0, 64.0)
_DIRECTIONS = tuple(math.pi * turn / 8 for turn in (2, 6, 0, 8, 10, 14, 4, 12, 1, 7, 9, 15))
_MARGIN = 2.0


@dataclass(frozen=True)
class Placed:
    """Position of a label: the lower left corner of its text."""

    x: float
    y: float
    far: bool
    """It is so far from its point that a line has to connect them."""


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    inside: Box,
) -> list[Placed] | None:
    """Return a place for each label, or None if one cannot be placed without covering anything.

    The algorithm is greedy: labels with the most neighbours are placed first, each at the nearest
    free place. All arguments are in the same units.

    Args:
        points: (x, y) of each point.
        sizes: (width, height) of each label.
        obstacles: boxes that must stay visible, such as markers and error bars.
        inside: the box of the axes, which labels must not leave.
    """
    taken: list[Box] = list(obstacles)
    placed: dict[int, Placed] = {}
    for index in sorted(range(len(points)), key=lambda i: -_crowd(points, i)):
        free = _free(points[index], sizes[index], taken, inside)
        if free is None:
            return None
        box, placed[index] = free
        taken.append(box)
    return [placed[index] for index in range(len(points))]


def without_common_start(rows: Sequence[Entry]) -> dict[int, str]:
    """Shorten "base-fold10" to "fold10" if the names of all compressed rows start with "base-".

    Names stay whole if the rest would be a bare number, which could be taken for a row's number.

    Returns:
        The short names by the rows' numbers.
    """
    names = [row.upstream for row in rows if row.methods]
    cut = 0
    for match in re.finditer(r"[-_./ ]", names[0] if names else ""):
        start = names[0][: match.end()]
        rests = [name[match.end() :] for name in names]
        if all(name.startswith(start) for name in names) and not any(map(_is_number, rests)):
            cut = match.end()
    return {row.row: row.upstream[cut if row.methods else 0 :] for row in rows}


def _free(
    point: tuple[float, float], size: tuple[float, float], taken: Sequence[Box], inside: Box
) -> tuple[Box, Placed] | None:
    for distance in _DISTANCES:
        for angle in _DIRECTIONS:
            box = _beside(point, size, distance, angle)
            if _within(box, inside) and not any(_overlap(box, other) for other in taken):
                return box, Placed(box[0], box[1], distance > _DISTANCES[1])
    return None


def _beside(
    point: tuple[float, float], size: tuple[float, float], distance: float, angle: float
) -> Box:
    """Put a box so that its nearest edge is `distance` from the point, in the given direction."""
    width, height = size
    across, up = math.cos(angle), math.sin(angle)
    x = point[0] + across * (distance + width / 2) - width / 2
    y = point[1] + up * (distance + height / 2) - height / 2
    return x, y, x + width, y + height


def _crowd(points: Sequence[tuple[float, float]], index: int) -> float:
    x, y = points[index]
    return sum(1 / (1 + math.hypot(x - a, y - b)) for a, b in points)


def _within(box: Box, outer: Box) -> bool:
    return (
        box[0] >= outer[0] + _MARGIN
        and box[1] >= outer[1] + _MARGIN
        and box[2] <= outer[2] - _MARGIN
        and box[3] <= outer[3] - _MARGIN
    )


def _overlap(one: Box, other: Box) -> bool:
    return (
        one[0] < other[2] + _MARGIN
        and other[0] < one[2] + _MARGIN
        and one[1] < other[3] + _MARGIN
        and other[1] < one[3] + _MARGIN
    )


def _is_number(text: str) -> bool:
    return not re.search(r"[^\W\d_]", text)
