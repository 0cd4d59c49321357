from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.tasks.pr.batches import LONG_SAMPLES, most_symbols_first, sliding_batches


def test_equal_numbers_of_symbols_keep_their_order() -> None:
    assert most_symbols_first([3, 5, 3, 9, 5]) == [3, 1, 4, 0, 2]


def test_every_utterance_begins_a_batch_and_the_last_batches_are_one() -> None:
    given = sliding_batches([900] * 5, [1, 5, 4, 2, 3], 3)
    assert given == [[1, 2, 4], [2, 4, 3], [4, 3, 0], [4, 3, 0], [4, 3, 0]]


def test_of_a_batch_that_begins_with_a_long_utterance_half_is_used() -> None:
    samples = [LONG_SAMPLES + 1, LONG_SAMPLES + 1, LONG_SAMPLES]
    assert sliding_batches(samples, [7, 8, 9], 3) == [[2, 1, 0]] * 3
    assert sliding_batches(samples, [9, 8, 7], 2) == [[0], [1], [1]]
    assert sliding_batches(samples, [9, 8, 7], 1) == [[0], [1], [2]]


@given(symbols=st.lists(st.integers(1, 30), max_size=20), size=st.integers(1, 25))
def test_short_utterances_are_all_used(symbols: list[int], size: int) -> None:
    batches = sliding_batches([800] * len(symbols), symbols, size)
    assert {index for batch in batches for index in batch} == set(range(len(symbols)))
    assert all(len(batch) == min(size, len(symbols)) for batch in batches)
