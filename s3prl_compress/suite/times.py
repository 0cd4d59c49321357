"""Whether a comparison was timed before: on this machine, with these encoders and settings."""

from __future__ import annotations

from pathlib import Path

import torch

from ..common.errors import InputError
from ..results.records import TimeRecord, environment, read_record
from .recipe import TimeEntry


def timed_before(
    records: Path,
    this: str,
    against: str | None,
    timing: TimeEntry,
    device: str,
) -> TimeRecord | None:
    """Return the record of this very comparison on this machine, if there is one.

    `this` and `against` are the encoders' fingerprints.
    """
    for path in sorted(records.glob("time-*.json")):
        try:
            record = read_record(path)
        except InputError:
            continue  # the report names a broken record
        if isinstance(record, TimeRecord) and fits(record, this, against, timing, device):
            return record
    return None


def fits(
    record: TimeRecord,
    this: str,
    against: str | None,
    timing: TimeEntry,
    device: str,
    threads: int | None = None,
) -> bool:
    """Tell whether a record is of this comparison, on this machine.

    `threads`: those of the process that would measure, where it is not this one.
    """
    other, settings, there = record.against, record.settings, record.environment
    wanted = (this, against, timing.dtype, timing.repeats, timing.warmup, timing.batch_size)
    found = (
        record.upstream.checkpoint_sha256,
        None if other is None else other.checkpoint_sha256,
        record.dtype,
        *(settings.get(key) for key in ("repeats", "warmup", "batch_size")),
    )
    here = environment(device)
    return (
        found == wanted
        and len(settings.get("lengths", ())) // 4 == (timing.utterances_per_bucket or 8)
        and (there.machine, there.device) == (here.machine, here.device)
        and there.threads == (timing.threads or threads or torch.get_num_threads())
        and there.packages.get("torch") == here.packages.get("torch")
        and not (device.startswith("cuda") and there.tf32 is not False)
    )
