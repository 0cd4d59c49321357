from __future__ import annotations

import sys

import pytest
import torch

from s3prl_compress.latency.memory import HIGH_WATER_MARK, _sampled, peak_memory

MEBIBYTE = 2**20


def _hold(mebibytes: int) -> None:
    blocks = [torch.ones(MEBIBYTE // 4) for _ in range(mebibytes)]
    for block in blocks:
        block.add_(1)


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is Linux's own")
def test_the_peak_is_what_was_held_at_once() -> None:
    _hold(64)  # what an earlier pass has freed must not hide the next one
    for mebibytes in (96, 32):
        found, how = peak_memory(lambda held=mebibytes: _hold(held))
        if how != HIGH_WATER_MARK:
            pytest.skip("this kernel does not reset the high-water mark")
        assert mebibytes - 4 < found / MEBIBYTE < mebibytes + 16


def test_sampling_sees_what_stays_for_a_while() -> None:
    def run() -> None:
        for _ in range(3):
            _hold(128)

    assert _sampled(run) > 16 * MEBIBYTE
