"""Batches of utterances of similar lengths, as s3prl's `asr` downstream makes and shuffles them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from ..tasks.base.transcripts import longest_first

LONG_SAMPLES = 2000
"""s3prl's `HALF_BATCHSIZE_TIME`: a bucket with a longer utterance than this is halved. It counts
samples there, so in effect every full bucket is."""


def make_buckets(samples: Sequence[int], size: int) -> list[list[int]]:
    """Return the utterances' indices in buckets, the longest first, as `SequenceDataset` does.

    A full bucket (of `size`) with a long utterance becomes two. The last, incomplete one stays
    whole, and is dropped where it holds one utterance only.
    """
    order = longest_first(list(samples))
    buckets = []
    for start in range(0, len(order), size):
        bucket = order[start : start + size]
        if len(bucket) < size:
            if len(bucket) > 1:
                buckets.append(bucket)
        elif size >= 2 and samples[bucket[0]] > LONG_SAMPLES:
            buckets += [bucket[: size // 2], bucket[size // 2 :]]
        else:
            buckets.append(bucket)
    return buckets


class ShuffledBuckets:
    """All buckets, in a random order per epoch that follows from the seed alone.

    Unlike in s3prl, whose order follows from all random numbers drawn before: batch n is always
    the same one, so that a killed run resumes exactly where it stopped.
    """

    def __init__(self, buckets: list[list[int]], seed: int) -> None:
        self._buckets = buckets
        self._order = lru_cache(maxsize=2)(self._draw)
        self._seed = seed

    def __getitem__(self, number: int) -> list[int]:
        """Return batch `number`, counted from 0 over all epochs."""
        epoch, place = divmod(number, len(self._buckets))
        return self._buckets[self._order(epoch)[place]]

    def _draw(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, 0, epoch))
        return torch.randperm(len(self._buckets), generator=generator).tolist()


def derived_seed(*parts: int) -> int:
    """Return a seed for torch that belongs to these numbers alone."""
    import numpy as np

    words = np.random.SeedSequence(parts).generate_state(2)
    return (int(words[0]) << 31) ^ int(words[1])
