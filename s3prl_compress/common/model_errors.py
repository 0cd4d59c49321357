"""The wording of pydantic's errors: the first mistake, in one line without Python's types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

Location = tuple[int | str, ...]

_REASONS = {
    "missing": "must be given",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_type": "must hold `key: value` lines",
    "dict_type": "must hold `key: value` lines",
}
"""Reasons by pydantic's error type, in place of its own wording."""

_LONGEST_VALUE = 40
"""Number of characters of a wrong value that a message repeats."""


def first_mistake(
    error: ValueError,
    known: Callable[[Location], Sequence[str]] | None = None,
    noun: str = "key",
) -> str:
    """Return what is wrong with some data, as "KEY: reason" or just the reason.

    Args:
        error: pydantic's, or any `ValueError` of code that builds a model.
        known: the names that are allowed where an unknown one was found, by its location.
        noun: what such a name is called: "key", "setting".
    """
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first, *others = error.errors()
    if first["type"] == "missing":
        # An unknown name beside it is often what the missing one was meant to be.
        unknown = (one for one in others if one["type"] == "extra_forbidden")
        first = next((one for one in unknown if one["loc"][:-1] == first["loc"][:-1]), first)
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = ", ".join(known(first["loc"])) if known else ""
        reason = f"no such {noun}" + (f"; there are {names}" if names else "")
    elif first["type"] in _REASONS:
        reason = _REASONS[first["type"]]
    else:
        reason = " ".join(first["msg"].removeprefix("Value error, ").split())
        if reason.startswith("Input should "):
            reason = reason.replace("Input should ", "must ", 1) + _given(first["input"])
    return ": ".join(part for part in (key, reason) if part)


def _given(value: Any) -> str:
    shown = repr(value)
    return f"; got {shown}" if len(shown) <= _LONGEST_VALUE else ""
