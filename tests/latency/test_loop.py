from __future__ import annotations

import gc

from torch import Tensor

from s3prl_compress.latency.loop import Forward, interleaved
from s3prl_compress.latency.plan import length_buckets


def _listening(calls: list[tuple[str, int]], side: str) -> Forward:
    def forward(waveforms: list[Tensor]) -> None:
        calls.append((side, len(waveforms[0])))
        assert not gc.isenabled()

    return forward


def test_sides_take_turns_and_begin_in_turn() -> None:
    calls: list[tuple[str, int]] = []
    buckets = length_buckets([400, 500, 600, 700])
    sides = {side: _listening(calls, side) for side in ("this", "against")}
    times = interleaved(sides, buckets, repeats=2, warmup=1)
    assert len(calls) == (2 + 1) * 4 * 2
    pairs = [calls[start : start + 2] for start in range(0, len(calls), 2)]
    for pair in pairs:
        assert {side for side, _ in pair} == {"this", "against"}
        assert pair[0][1] == pair[1][1]
    for bucket in range(4):
        first = [pairs[number * 4 + bucket][0][0] for number in range(3)]
        assert first[0] != first[1] != first[2]
    assert sorted(times) == sorted(f"{b.name}/{side}" for b in buckets for side in sides)
    assert all(len(values) == 2 and min(values) > 0 for values in times.values())
    assert gc.isenabled()
