"""Whole suites: upstreams x tasks x engines x seeds, timing and report from one YAML file."""

from __future__ import annotations

from .recipe import Suite, find_suite, read_suite
from .run import FAILURES_FILE, run_suite

__all__ = ["FAILURES_FILE", "Suite", "find_suite", "read_suite", "run_suite"]
