"""Run a grid of upstreams x tasks x engines x seeds, with timing and a report, from a YAML file.

Other packages use the names below; the modules are internal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.lazy import imported_on_first_use

if TYPE_CHECKING:
    from .run import FAILURES_FILE, run_suite
    from .suite_file import Suite, find_suite, read_suite

__all__ = ["FAILURES_FILE", "Suite", "find_suite", "read_suite", "run_suite"]

# Imported on first use: the worker process must notice the end of its parent while it imports.
__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "FAILURES_FILE": "run",
        "run_suite": "run",
        "Suite": "suite_file",
        "find_suite": "suite_file",
        "read_suite": "suite_file",
    },
)
