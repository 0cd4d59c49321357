"""Batches of utterances with similar numbers of phonemes, as s3prl's `ctc` makes them."""

from __future__ import annotations

from collections.abc import Sequence

LONG_SAMPLES = 300_000
"""s3prl's `half_batchsize_wav_len`, 18.75 s: of a batch that begins with a longer utterance, only
the first half is used."""


def most_symbols_first(symbols: Sequence[int]) -> list[int]:
    """Return the indices of utterances by their numbers of symbols, equal ones as they come."""
    return sorted(range(len(symbols)), key=lambda index: -symbols[index])


def window(count: int, index: int, size: int) -> range:
    """Return the places of item `index` of s3prl's training set, among `count` sorted utterances.

    Every utterance begins a batch of itself and the next ones, so that an epoch has as many
    batches as there are utterances; the last batches are all the same one.

    With fewer utterances than `size`, a batch is all of them. s3prl's own data set would then take
    a few of the shortest ones, by a negative index.
    """
    start = max(0, min(count - size, index))
    return range(start, min(start + size, count))


def sliding_batches(samples: Sequence[int], symbols: Sequence[int], size: int) -> list[list[int]]:
    """Return the batches of an epoch, as indices of utterances.

    Args:
        samples: length of every utterance.
        symbols: number of target symbols of every utterance.
        size: utterances in a batch.
    """
    order = most_symbols_first(symbols)
    batches = []
    for index in range(len(order)):
        batch = [order[place] for place in window(len(order), index, size)]
        if len(batch) > 1 and samples[batch[0]] > LONG_SAMPLES:
            batch = batch[: len(batch) // 2]
        batches.append(batch)
    return batches
