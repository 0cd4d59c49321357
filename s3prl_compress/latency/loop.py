"""The timing loop, in which encoders alternate on every bucket."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .plan import Bucket

Forward = Callable[[list[Tensor]], Any]
"""Maps a list of 1-D waveforms to all hidden states."""

Times = dict[str, list[float]]
"""Seconds of each counted pass, by "<bucket>/<side>"."""


def interleaved(
    sides: dict[str, Forward],
    buckets: Sequence[Bucket],
    *,
    repeats: int,
    warmup: int,
    device: str = "cpu",
) -> Times:
    """Time every side on every bucket, `repeats` times after `warmup` uncounted rounds.

    The sides alternate on each bucket (A B), and the order changes from round to round (B A). So a
    drifting clock or a short disturbance affects both alike, and neither side always runs on
    caches that the other one has warmed.

    Args:
        sides: forward passes by name.
        buckets: what each pass processes.
        repeats: rounds that count.
        warmup: rounds before them that do not.
        device: of the encoders.
    """
    times: Times = {f"{bucket.name}/{side}": [] for bucket in buckets for side in sides}
    rounds = warmup + repeats
    with (
        torch.inference_mode(),
        _without_collector(),
        tqdm(
            total=rounds * len(buckets) * len(sides), desc="timing", unit="pass", file=sys.stderr
        ) as progress,
    ):
        for number in range(rounds):
            for position, bucket in enumerate(buckets):
                order = list(sides)
                if (number + position) % 2:
                    order.reverse()
                for side in order:
                    seconds = one_pass(sides[side], bucket, device)
                    if number >= warmup:
                        times[f"{bucket.name}/{side}"].append(seconds)
                    progress.update()
            gc.collect()
    return times


def one_pass(forward: Forward, bucket: Bucket, device: str = "cpu") -> float:
    """Return the seconds of one pass over a bucket, waiting for the result of each batch."""
    _synchronise(device)
    start = time.perf_counter()
    for batch in bucket.batches:
        forward(list(batch))
        _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Disable Python's garbage collector within the block, as `timeit` does."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
