"""Timing encoders: paired, interleaved measurements with intervals.

Other packages use the names below. The modules `assemble`, `loop`, `measure`, `memory`, `plan` and
`ratios` are public, too: for models that are not timed by `time_upstreams`, and for benchmarks.
"""

from __future__ import annotations

from .measure import time_upstreams, write_time_record
from .table import summary, time_table

__all__ = ["summary", "time_table", "time_upstreams", "write_time_record"]
