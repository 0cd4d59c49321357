"""Damaged files."""

from __future__ import annotations

from pathlib import Path


def flip_bit(path: Path, place: float) -> None:
    """Flip the lowest bit of one byte of a file; `place` is from 0, its start, to 1, its end."""
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
