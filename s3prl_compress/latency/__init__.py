"""How fast an encoder is."""

from __future__ import annotations

from .measure import time_upstreams, write_time_record
from .table import summary, time_table

__all__ = ["summary", "time_table", "time_upstreams", "write_time_record"]
