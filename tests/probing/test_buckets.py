from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.probing.buckets import ShuffledBuckets, derived_seed, make_buckets
from s3prl_compress.tasks.base.transcripts import bucket_table, open_transcripts

from ..support.small_corpora import write_transcripts


@pytest.mark.s3prl
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 32])
def test_buckets_are_those_of_s3prl(tmp_path: Path, size: int) -> None:
    dataset = importlib.import_module("s3prl.downstream.asr.dataset")
    corpus = open_transcripts(write_transcripts(tmp_path / "corpus", ("A", "B"), train=11))
    (tmp_path / "train-clean-100.csv").write_text(bucket_table(corpus, "train"))
    expected = dataset.SequenceDataset(
        "train",
        size,
        dataset.Dictionary(),
        str(corpus.root),
        str(tmp_path),
        train=["train-clean-100"],
    )
    names = [item.relative for item in corpus.items("train")]
    given = make_buckets(corpus.lengths("train"), size)
    assert [[names[index] for index in bucket] for bucket in given] == expected.X


@given(
    samples=st.lists(st.integers(400, 4000), max_size=40),
    size=st.integers(1, 9),
)
def test_every_utterance_is_in_one_bucket_but_for_a_last_one_alone(
    samples: list[int], size: int
) -> None:
    buckets = make_buckets(samples, size)
    found = [index for bucket in buckets for index in bucket]
    alone = size > 1 and len(samples) % size == 1
    assert len(found) == len(set(found)) == len(samples) - alone
    lengths = [samples[index] for index in found]
    assert lengths == sorted(lengths, reverse=True)


def test_short_buckets_are_not_halved() -> None:
    assert make_buckets([2000, 1999, 1998, 500], 2) == [[0, 1], [2, 3]]
    assert make_buckets([2001, 1999, 1998, 500], 2) == [[0], [1], [2, 3]]
    assert make_buckets([900], 2) == []


def test_every_epoch_has_all_buckets_in_an_order_of_its_own() -> None:
    buckets = [[number] for number in range(20)]
    stream = ShuffledBuckets(buckets, seed=3)
    epochs = [[stream[20 * epoch + place] for place in range(20)] for epoch in range(3)]
    assert all(sorted(epoch) == buckets for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert ShuffledBuckets(buckets, seed=3)[47] == epochs[2][7]
    assert [ShuffledBuckets(buckets, seed=4)[place] for place in range(20)] != epochs[0]
    assert derived_seed(1, 0, 2) != derived_seed(1, 2, 0)
