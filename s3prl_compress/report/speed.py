"""Measured speed beside scores, and in a table of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import pandas

from ..results.records import BucketTiming, TimeRecord

SPEED_COLUMNS = (
    "rtfx",
    "speedup",
    "speedup_low",
    "speedup_high",
    "speedup_against",
    "relative_time",
    "relative_time_low",
    "relative_time_high",
    "peak_memory_bytes",
    "timing",
)

NOISY_TIMES = "Its timing comes with a warning: see the speed table."

Identity = tuple[str, ...]


def identity(record: TimeRecord) -> Identity:
    """Return what two times must share to be compared."""
    where = record.environment
    settings = {
        key: record.settings.get(key) for key in ("lengths", "timed", "numbers", "batch_size")
    }
    return (
        where.machine,
        where.device,
        str(where.threads),
        record.dtype,
        where.packages.get("torch", ""),
        str(where.tf32),
        json.dumps(settings, sort_keys=True),
    )


def identity_text(record: TimeRecord) -> str:
    """Return the identity of a time in words."""
    where = record.environment
    lengths = record.settings.get("lengths")
    utterances = f", {len(lengths)} utterances" if lengths else ""
    threads = f"{where.threads} thread{'' if where.threads == 1 else 's'}"
    tf32 = ", TensorFloat-32 off" if where.tf32 is False else ""
    return (
        f"{where.machine}, {where.device}, {threads}, {record.dtype}{tf32}, "
        f"torch {where.packages.get('torch', 'unknown')}{utterances}"
    )


def attach_speed(rows: list[dict[str, Any]], records: Sequence[TimeRecord]) -> None:
    """Fill in `SPEED_COLUMNS` of a block's rows, in place.

    All figures are of the one identity that covers most rows (of several, the newest), since
    times of different machines, threads or dtypes must not stand in one column. `relative_time`
    is the share of the time of the block's untouched upstream, from pairs of one run.
    """
    groups: dict[Identity, list[TimeRecord]] = {}
    for record in sorted(records, key=lambda record: record.environment.date, reverse=True):
        groups.setdefault(identity(record), []).append(record)
    for row in rows:
        row.update(dict.fromkeys(SPEED_COLUMNS))
    if not groups:
        return
    found = [
        [_speed(row, _references(row, rows), group) for row in rows] for group in groups.values()
    ]
    best = max(found, key=lambda speeds: sum(speed is not None for speed in speeds))
    for row, speed in zip(rows, best, strict=True):
        if speed is not None:
            row["notes"] = (*row["notes"], *speed.pop("notes"))
            row.update(speed)
            if row["reference"]:
                row["relative_time"] = 1.0


def speed_tables(records: Iterable[TimeRecord]) -> list[tuple[str, pandas.DataFrame]]:
    """Return (identity in words, one row per record) for every identity among the records."""
    groups: dict[Identity, list[TimeRecord]] = {}
    for record in sorted(records, key=lambda record: record.environment.date):
        groups.setdefault(identity(record), []).append(record)
    return [
        (identity_text(group[0]), pandas.DataFrame([_line(record) for record in group]))
        for _, group in sorted(groups.items())
    ]


def overall(record: TimeRecord) -> BucketTiming:
    """Return the figures over all four buckets."""
    return next(bucket for bucket in record.buckets if bucket.name == "all")


def _references(row: dict[str, Any], rows: list[dict[str, Any]]) -> set[str]:
    """Return the fingerprints of the block's dense upstreams that a row is measured against.

    Those of its base; for somebody else's model, any.
    """
    return {
        other["checkpoint_sha256"]
        for other in rows
        if other["reference"] and (row["peer"] or other["base"] == row["base"])
    }


def _speed(
    row: dict[str, Any], references: set[str], records: list[TimeRecord]
) -> dict[str, Any] | None:
    """Return a row's speed figures out of records of one identity, newest first."""
    sha, name = row["checkpoint_sha256"], row["upstream"]
    own = [record for record in records if record.upstream.checkpoint_sha256 == sha]
    if not own:
        return _speed_as_other(sha, records)

    def preference(record: TimeRecord) -> tuple[bool, bool]:
        against = record.against is not None and record.against.checkpoint_sha256 in references
        return against, record.upstream.name == name

    record = max(own, key=preference)
    bucket = overall(record)
    low, high = bucket.interval or (None, None)
    notes: tuple[str, ...] = (NOISY_TIMES,) if record.warnings else ()
    paired = record.against is not None and record.against.checkpoint_sha256 in references
    if record.against is not None and not paired:
        other = record.against.name
        notes = (*notes, f"Speed-up against {other}, not this block's dense upstream.")
    return {
        **(_relative(bucket) if paired else {}),
        "rtfx": bucket.rtfx,
        "speedup": bucket.speedup,
        "speedup_low": low,
        "speedup_high": high,
        "speedup_against": record.against.name if record.against else None,
        "peak_memory_bytes": record.peak_memory_bytes,
        "timing": identity_text(record),
        "notes": notes,
    }


def _relative(bucket: BucketTiming) -> dict[str, float | None]:
    """Return the time as a share of dense's: the paired ratio turned round."""
    low, high = bucket.interval or (None, None)
    return {
        "relative_time": 1 / bucket.speedup if bucket.speedup else None,
        "relative_time_low": 1 / high if high else None,
        "relative_time_high": 1 / low if low else None,
    }


def _speed_as_other(sha: str, records: list[TimeRecord]) -> dict[str, Any] | None:
    """Return the speed of an upstream that was only ever the other one of a comparison."""
    seen = [
        record
        for record in records
        if record.against is not None and record.against.checkpoint_sha256 == sha
    ]
    rates = [
        bucket.audio_seconds / bucket.against_seconds
        for bucket in map(overall, seen)
        if bucket.against_seconds
    ]
    if not rates:
        return None
    memories = [record.against_peak_memory_bytes for record in seen]
    return {
        "rtfx": median(rates),
        "peak_memory_bytes": memories[0],
        "timing": identity_text(seen[0]),
        "notes": (),
    }


def _line(record: TimeRecord) -> dict[str, Any]:
    bucket = overall(record)
    low, high = bucket.interval or (None, None)
    return {
        "upstream": record.upstream.name,
        "against": record.against.name if record.against else None,
        **{f"rtfx_{bucket.name}": bucket.rtfx for bucket in record.buckets},
        "speedup": bucket.speedup,
        "speedup_low": low,
        "speedup_high": high,
        "peak_memory_bytes": record.peak_memory_bytes,
        "date": record.environment.date,
        "notes": record.warnings,
    }
