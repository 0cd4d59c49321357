"""Measured speed beside scores, and in a table of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import TypeVar

from ..results.records import BucketTiming, TimeRecord
from .rows import Entry, Speed, SpeedRow

EntryT = TypeVar("EntryT", bound=Entry)

NOISY_TIMES = "Its timing comes with a warning: see the speed table."

Identity = tuple[str, ...]


def identity(record: TimeRecord) -> Identity:
    """Return everything that two times must share to be compared."""
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


def with_speed(rows: Sequence[EntryT], records: Sequence[TimeRecord]) -> list[EntryT]:
    """Return a block's rows with their `speed`, and with the notes on it.

    All figures are of the one identity that covers most rows (of several, the newest), since
    times of different machines, threads or dtypes must not stand in one column.
    """
    groups: dict[Identity, list[TimeRecord]] = {}
    for record in sorted(records, key=lambda record: record.environment.date, reverse=True):
        groups.setdefault(identity(record), []).append(record)
    if not groups:
        return list(rows)
    measured = [
        [_speed(row, _references(row, rows), group) for row in rows] for group in groups.values()
    ]
    best = max(measured, key=lambda speeds: sum(speed is not None for speed, _ in speeds))
    return [
        row if speed is None else replace(row, speed=speed, notes=(*row.notes, *notes))
        for row, (speed, notes) in zip(rows, best, strict=True)
    ]


def speed_tables(records: Iterable[TimeRecord]) -> list[tuple[str, list[SpeedRow]]]:
    """Return (identity in words, one row per record) for every identity among the records."""
    groups: dict[Identity, list[TimeRecord]] = {}
    for record in sorted(records, key=lambda record: record.environment.date):
        groups.setdefault(identity(record), []).append(record)
    return [
        (identity_text(group[0]), [_speed_row(record) for record in group])
        for _, group in sorted(groups.items(), key=lambda item: item[0])
    ]


def overall(record: TimeRecord) -> BucketTiming:
    """Return the figures over all four buckets."""
    return next(bucket for bucket in record.buckets if bucket.name == "all")


def _references(row: Entry, rows: Sequence[Entry]) -> set[str]:
    """Return the fingerprints of the block's dense upstreams that a row is measured against.

    Those of its base; for a third-party model, any.
    """
    return {
        other.checkpoint_sha256
        for other in rows
        if other.reference and (row.peer or other.base == row.base)
    }


def _speed(
    row: Entry, references: set[str], records: Sequence[TimeRecord]
) -> tuple[Speed | None, tuple[str, ...]]:
    """Return a row's speed out of records of one identity, newest first, and notes on it."""
    speed, notes = _measured(row, references, records)
    if speed is not None and row.reference:
        speed = replace(speed, relative_time=1.0)
    return speed, notes


def _measured(
    row: Entry, references: set[str], records: Sequence[TimeRecord]
) -> tuple[Speed | None, tuple[str, ...]]:
    sha = row.checkpoint_sha256
    own = [record for record in records if record.upstream.checkpoint_sha256 == sha]
    if not own:
        return _speed_as_other(sha, records), ()

    def against_reference(record: TimeRecord) -> bool:
        return record.against is not None and record.against.checkpoint_sha256 in references

    record = max(own, key=lambda one: (against_reference(one), one.upstream.name == row.upstream))
    bucket = overall(record)
    low, high = bucket.interval or (None, None)
    speed = Speed(
        rtfx=bucket.rtfx,
        speedup=bucket.speedup,
        speedup_low=low,
        speedup_high=high,
        speedup_against=record.against.name if record.against else None,
        peak_memory_bytes=record.peak_memory_bytes,
        timing=identity_text(record),
    )
    notes: tuple[str, ...] = (NOISY_TIMES,) if record.warnings else ()
    if against_reference(record):  # its time as a share of dense's is the inverse ratio
        speed = replace(
            speed,
            relative_time=1 / bucket.speedup if bucket.speedup else None,
            relative_time_low=1 / high if high else None,
            relative_time_high=1 / low if low else None,
        )
    elif record.against is not None:
        other = record.against.name
        notes = (*notes, f"Speed-up against {other}, not this block's dense upstream.")
    return speed, notes


def _speed_as_other(sha: str, records: Sequence[TimeRecord]) -> Speed | None:
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
    return Speed(
        rtfx=median(rates),
        peak_memory_bytes=seen[0].against_peak_memory_bytes,
        timing=identity_text(seen[0]),
    )


def _speed_row(record: TimeRecord) -> SpeedRow:
    bucket = overall(record)
    low, high = bucket.interval or (None, None)
    return SpeedRow(
        upstream=record.upstream.name,
        against=record.against.name if record.against else None,
        rtfx={bucket.name: bucket.rtfx for bucket in record.buckets},
        speedup=bucket.speedup,
        speedup_low=low,
        speedup_high=high,
        peak_memory_bytes=record.peak_memory_bytes,
        date=record.environment.date,
        notes=record.warnings,
    )
