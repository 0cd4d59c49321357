"""Turning measured times into a record: medians, spreads, ratios and warnings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from ..results.records import BucketTiming, Environment, TimeRecord, Upstream
from .loop import Times
from .plan import BUCKET_NAMES, Bucket
from .ratios import NOISY, interquartile_range, is_noisy, median, paired_ratio

_FEW_PAIRS = 5  # a bootstrap interval over fewer pairs is only rough


def make_record(
    upstream: Upstream,
    against: Upstream | None,
    buckets: Sequence[Bucket],
    times: Times,
    *,
    dtype: Literal["float32", "bfloat16"],
    memory: dict[str, int],
    settings: dict[str, Any],
    environment: Environment,
) -> TimeRecord:
    """Return the record of a measurement, with "all" after the four buckets of latencies.

    Buckets that include one of the name "all" stay as they are.
    """
    latency = [bucket for bucket in buckets if bucket.name in BUCKET_NAMES]
    all_times = dict(times)
    rows = [(bucket.name, bucket.audio_seconds, bucket.batch_size) for bucket in buckets]
    if latency:
        sides = [side for side in ("this", "against") if f"{latency[0].name}/{side}" in times]
        for side in sides:
            parts = [times[f"{bucket.name}/{side}"] for bucket in latency]
            all_times[f"all/{side}"] = [sum(round_) for round_ in zip(*parts, strict=True)]
        rows.insert(len(latency), ("all", sum(bucket.audio_seconds for bucket in latency), 1))
    return TimeRecord(
        upstream=upstream,
        against=against,
        dtype=dtype,
        buckets=tuple(_timing(all_times, *row) for row in rows),
        raw_seconds=times,
        peak_memory_bytes=memory["this"],
        against_peak_memory_bytes=memory.get("against"),
        warnings=tuple(_warnings(all_times)),
        settings=settings,
        environment=environment,
    )


def _timing(times: Times, name: str, audio_seconds: float, batch_size: int) -> BucketTiming:
    this = times[f"{name}/this"]
    other = times.get(f"{name}/against")
    pair = None if other is None else paired_ratio(this, other)
    return BucketTiming(
        name=name,
        audio_seconds=audio_seconds,
        batch_size=batch_size,
        seconds=median(this),
        interquartile_range=interquartile_range(this),
        rtfx=audio_seconds / median(this),
        against_seconds=None if other is None else median(other),
        against_interquartile_range=None if other is None else interquartile_range(other),
        speedup=None if pair is None else pair.ratio,
        interval=None if pair is None else pair.interval,
    )


def _warnings(times: Times) -> Iterator[str]:
    """Yield warnings about noise and few repeats, at most one line per side for noise."""
    for side, whose in (("this", ""), ("against", " of the other encoder")):
        noisy = {
            key.split("/")[0]: interquartile_range(values) / median(values)
            for key, values in times.items()
            if key.endswith(f"/{side}") and is_noisy(values)
        }
        if noisy:
            buckets = ", ".join(f"{name} {share:.0%}" for name, share in noisy.items())
            yield (
                f"the interquartile range{whose} is above {NOISY:.0%} of the median ({buckets}): "
                "repeat on a quieter machine or with more repeats"
            )
    pairs = len(next(iter(times.values())))
    if pairs < _FEW_PAIRS:
        yield f"only {pairs} repeats: the interval is rough"
