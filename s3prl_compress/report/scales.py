"""Linear and logarithmic axes with round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOG_RATIO = 10.0
"""Costs that differ by more than this are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Scale:
    """An axis: `low` is drawn at `start` and `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return where a value is drawn."""
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return the round numbers between the ends."""
        if self.logarithmic:
            return _log_ticks(self.low, self.high)
        return _ticks(self.low, self.high)


def cost_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Return an axis for costs, with room on both sides; never below zero."""
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_RATIO:
        return Scale(low / 1.6, high * 1.6, start, end, logarithmic=True)
    room = 0.14 * ((high - low) or high or 1.0)
    return Scale(max(0.0, low - room), high + room, start, end)


def score_scale(lows: Sequence[float], highs: Sequence[float], start: float, end: float) -> Scale:
    """Return an axis for scores with their intervals, with room above and below."""
    low, high = min(lows), max(highs)
    room = 0.12 * ((high - low) or 1.0)
    return Scale(low - room, high + room, start, end)


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    rough = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * size for size in (1, 2, 2.5, 5, 10) if unit * size >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [size * 10.0**decade for decade in decades for size in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) > 7:  # too many to read: powers of ten only
        ticks = [tick for tick in ticks if f"{tick:e}"[0] == "1"]
    return ticks
