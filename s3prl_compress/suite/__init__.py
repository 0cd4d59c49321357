"""Run a grid of upstreams x tasks x engines x seeds, with timing and a report, from a YAML file.

Other packages use the names below; the modules are internal.
"""

from __future__ import annotations

from .run import FAILURES_FILE, run_suite
from .suite_file import Suite, find_suite, read_suite

__all__ = ["FAILURES_FILE", "Suite", "find_suite", "read_suite", "run_suite"]
