"""The output symbols of a recogniser that is trained by CTC, and texts as their numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Symbols:
    """One task's output symbols; the index of a symbol is the index of its logit."""

    names: tuple[str, ...]
    blank: int
    """Index of CTC's blank."""
    encode: Callable[[str], list[int]]
    """Returns the numbers that a label is trained on. Raises `KeyError` for unknown symbols."""
    decode: Callable[[Sequence[int]], str]
    """Returns the text for the best symbol of every frame, repeats and blanks included."""
