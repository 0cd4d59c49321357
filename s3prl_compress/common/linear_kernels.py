"""Which library multiplied the matrices of this process, for records."""

from __future__ import annotations

_used: list[str] = []


def note_linear_kernels(name: str) -> None:
    """Note the library that the linears of encoders use from now on: "torch" or "onednn"."""
    _used[:] = [name]


def linear_kernels() -> str | None:
    """Return the noted library; None if no encoder has been prepared for inference."""
    return _used[0] if _used else None
