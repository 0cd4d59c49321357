"""Run a grid of upstreams x tasks x engines x seeds, with timing and a report, from a YAML file.

Other packages use the names below; the modules are internal.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import FAILURES_FILE, run_suite
    from .suite_file import Suite, find_suite, read_suite

__all__ = ["FAILURES_FILE", "Suite", "find_suite", "read_suite", "run_suite"]

# Imported on first use: the worker process must notice the end of its parent while it imports.
_HOMES = {
    "FAILURES_FILE": "run",
    "run_suite": "run",
    "Suite": "suite_file",
    "find_suite": "suite_file",
    "read_suite": "suite_file",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
