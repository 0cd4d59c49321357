"""Peak memory of a pass, above the memory of the process before it.

On CUDA it is the allocator's own count. On Linux it is the kernel's high-water mark of the resident
set, which misses no peak. On other systems the resident set is sampled.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

CUDA = "torch.cuda.max_memory_allocated"
HIGH_WATER_MARK = "resident set, high-water mark of the kernel (VmHWM)"
SAMPLED = "resident set, sampled every millisecond"

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_INTERVAL = 0.001  # seconds


def peak_memory(run: Callable[[], object], device: str = "cpu") -> tuple[int, str]:
    """Call `run` once; return its peak in bytes above the start, and how it was measured.

    Weights that are already in memory do not count. File-mapped weights count if `run` is the
    first to read them, so call it once before.
    """
    gc.collect()
    if device.startswith("cuda"):
        return _on_cuda(run, device), CUDA
    _give_free_memory_back()
    try:
        _CLEAR.write_text("5")  # resets VmHWM (see proc(5); since Linux 4.0)
        before = _high_water_mark()
    except (OSError, StopIteration):
        return _sampled(run), SAMPLED
    run()
    return max(0, _high_water_mark() - before), HIGH_WATER_MARK


def _on_cuda(run: Callable[[], object], device: str) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _high_water_mark() -> int:
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    kibibytes = next(line for line in lines if line.startswith("VmHWM:")).split()[1]
    return int(kibibytes) * 1024


def _sampled(run: Callable[[], object]) -> int:
    process = psutil.Process()
    before = process.memory_info().rss
    highest = before
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.is_set():
            highest = max(highest, process.memory_info().rss)
            done.wait(_INTERVAL)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return highest - before


def _give_free_memory_back() -> None:
    """Return freed memory to the system, since reusing it would hide the growth during a pass."""
    # Only glibc has this function; other allocators return large blocks by themselves.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
