"""Find the record of a timing that was already measured with the same encoders and settings."""

from __future__ import annotations

from pathlib import Path

import torch

from ..common.errors import InputError
from ..results.environment import environment
from ..results.records import TimeRecord, read_record
from .suite_file import TimeEntry


def find_time_record(
    records: Path,
    this: str,
    against: str | None,
    timing: TimeEntry,
    device: str,
) -> TimeRecord | None:
    """Return the record of the same comparison on this machine; None if there is none.

    `this` and `against` are the encoders' fingerprints.
    """
    for path in sorted(records.glob("time-*.json")):
        try:
            record = read_record(path)
        except InputError:
            continue  # the report names unreadable records
        if isinstance(record, TimeRecord) and is_same_comparison(
            record, this, against, timing, device
        ):
            return record
    return None


def is_same_comparison(
    record: TimeRecord,
    this: str,
    against: str | None,
    timing: TimeEntry,
    device: str,
    threads: int | None = None,
) -> bool:
    """Tell whether a record holds the same comparison, measured on this machine.

    `threads` is the number of CPU threads of the process that would measure, if not this one.
    """
    other, settings, there = record.against, record.settings, record.environment
    expected = (this, against, timing.dtype, timing.repeats, timing.warmup, timing.batch_size)
    recorded = (
        record.upstream.checkpoint_sha256,
        None if other is None else other.checkpoint_sha256,
        record.dtype,
        *(settings.get(key) for key in ("repeats", "warmup", "batch_size")),
    )
    here = environment(device)
    return (
        recorded == expected
        and len(settings.get("lengths", ())) // 4 == (timing.utterances_per_bucket or 8)
        and (there.machine, there.device) == (here.machine, here.device)
        and there.threads == (timing.threads or threads or torch.get_num_threads())
        and there.packages.get("torch") == here.packages.get("torch")
        and not (device.startswith("cuda") and there.tf32 is not False)
    )
