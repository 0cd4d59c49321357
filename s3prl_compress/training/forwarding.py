"""Deprecated modules that forward to the new places of their names."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def forwarding(module: str, moved: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module whose names moved; each use warns.

    Args:
        module: name of the deprecated module.
        moved: for each of its names, the new place as "module:attribute".
    """

    def find(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, attribute = moved[name].partition(":")
        message = f"{module}.{name} is deprecated: import {attribute} from {home}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(home), attribute)

    return find
