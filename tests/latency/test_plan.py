from __future__ import annotations

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import LEADERBOARD_SAMPLES
from s3prl_compress.latency.plan import batched, length_buckets


def test_the_leaderboards_utterances_make_four_buckets_of_eight() -> None:
    buckets = length_buckets(LEADERBOARD_SAMPLES)
    assert [bucket.name for bucket in buckets] == ["short", "medium", "long", "longer"]
    assert [len(bucket.batches) for bucket in buckets] == [8, 8, 8, 8]
    lengths = [len(w) for bucket in buckets for (w,) in bucket.batches]
    assert lengths == sorted(LEADERBOARD_SAMPLES)
    assert sum(b.audio_seconds for b in buckets) == pytest.approx(sum(LEADERBOARD_SAMPLES) / 16000)


def test_a_quick_look_takes_evenly_spaced_ones_of_each_bucket() -> None:
    buckets = length_buckets(LEADERBOARD_SAMPLES, utterances_per_bucket=2)
    lengths = [[len(w) for (w,) in bucket.batches] for bucket in buckets]
    ordered = sorted(LEADERBOARD_SAMPLES)
    assert lengths[0] == [ordered[2], ordered[6]]
    assert [len(members) for members in lengths] == [2, 2, 2, 2]


def test_noise_is_the_same_every_time_and_never_the_same_twice() -> None:
    one, two = (length_buckets([400, 500, 600, 700]) for _ in range(2))
    assert torch.equal(one[0].batches[0][0], two[0].batches[0][0])
    assert not torch.equal(one[0].batches[0][0], one[1].batches[0][0][:400])


def test_a_batched_bucket_holds_every_utterance_once() -> None:
    bucket = batched(length_buckets(LEADERBOARD_SAMPLES), 5)
    assert [len(batch) for batch in bucket.batches] == [5, 5, 5, 5, 5, 5, 2]
    assert bucket.batch_size == 5
    assert bucket.audio_seconds == pytest.approx(sum(LEADERBOARD_SAMPLES) / 16000)


def test_numbers_out_of_range_are_named() -> None:
    with pytest.raises(InputError, match="1 to 8, got 9"):
        length_buckets(LEADERBOARD_SAMPLES, utterances_per_bucket=9)
    with pytest.raises(InputError, match="5 utterance lengths"):
        length_buckets([400] * 5)
    with pytest.raises(InputError, match="batch size"):
        batched(length_buckets([400] * 4), 5)
