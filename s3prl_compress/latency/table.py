"""Text and summary of a time record."""

from __future__ import annotations

from typing import Any

from ..results.records import BucketTiming, TimeRecord


def time_table(record: TimeRecord) -> str:
    """Return the record as plain text: one line per bucket, then memory, machine and warnings."""
    compared = record.against is not None
    head = ["bucket", "audio", "batch", "median", "IQR", "RTFx"]
    if compared:
        head += ["other", "speed-up", "95 % interval"]
    lines = [head, *(_line(bucket) for bucket in record.buckets)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    where = record.environment
    other = record.against_peak_memory_bytes
    memory = f"peak memory {record.peak_memory_bytes / 2**20:.0f} MiB"
    if other is not None:
        memory += f", the other {other / 2**20:.0f} MiB"
    return "\n".join(
        [
            record.upstream.name + (f" against {record.against.name}" if record.against else ""),
            *text,
            memory,
            f"{where.machine}, {where.device}, {where.threads} threads, {record.dtype}, "
            f"torch {where.packages.get('torch', '?')}, {where.date}",
            *(f"warning: {warning}" for warning in record.warnings),
        ]
    )


def summary(record: TimeRecord) -> dict[str, Any]:
    """Return the results over all utterances under stable keys, for JSON."""
    overall = next(bucket for bucket in record.buckets if bucket.name == "all")
    return {
        "upstream": record.upstream.name,
        "against": None if record.against is None else record.against.name,
        "seconds": overall.seconds,
        "rtfx": overall.rtfx,
        "speedup": overall.speedup,
        "interval": None if overall.interval is None else list(overall.interval),
        "buckets": [bucket.model_dump(mode="json") for bucket in record.buckets],
        "peak_memory_bytes": record.peak_memory_bytes,
        "against_peak_memory_bytes": record.against_peak_memory_bytes,
        "dtype": record.dtype,
        "device": record.environment.device,
        "threads": record.environment.threads,
        "warnings": list(record.warnings),
    }


def _line(bucket: BucketTiming) -> list[str]:
    cells = [
        bucket.name,
        f"{bucket.audio_seconds:.1f} s",
        str(bucket.batch_size),
        f"{bucket.seconds:.4g} s",
        f"{bucket.interquartile_range / bucket.seconds:.1%}",
        f"{bucket.rtfx:.4g}",
    ]
    if bucket.speedup is not None and bucket.interval is not None:
        low, high = bucket.interval
        slower = ", slower" if high < 1 else ""
        cells += [
            f"{bucket.against_seconds:.4g} s",
            f"{bucket.speedup:.3g} x",
            f"{low:.3g} to {high:.3g}{slower}",
        ]
    return cells
