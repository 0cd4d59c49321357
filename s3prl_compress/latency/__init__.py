"""Timing encoders: paired, interleaved measurements with intervals.

Other packages use the names below. The module `ratios` is public, too: benchmarks use its median
and paired ratio for their own times.
"""

from __future__ import annotations

from .measure import time_upstreams, write_time_record
from .table import summary, time_table

__all__ = ["summary", "time_table", "time_upstreams", "write_time_record"]
