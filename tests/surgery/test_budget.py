from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.common.errors import InputError
from s3prl_compress.surgery.budget import RemovalOrder, find_sparsity


@given(st.lists(st.lists(st.floats(0, 1), max_size=8), max_size=5), st.data())
def test_a_prefix_is_one_threshold_for_all_queues(
    queues: list[list[float]], data: st.DataObject
) -> None:
    keys = [np.sort(np.array(queue)) for queue in queues]
    order = RemovalOrder(keys)
    assert len(order) == sum(len(queue) for queue in queues)
    steps = data.draw(st.integers(0, len(order)))
    counts = order.counts(steps)
    assert counts.sum() == steps
    gone = [own[:count] for own, count in zip(keys, counts, strict=True)]
    left = [own[count:] for own, count in zip(keys, counts, strict=True)]
    threshold = max((own[-1] for own in gone if len(own)), default=0)
    assert all(own[0] >= threshold for own in left if len(own))


def test_the_closest_number_of_steps_is_taken() -> None:
    order = RemovalOrder([np.arange(100.0)])
    counts = find_sparsity("m", 0.126, 100, order, lambda counts: 100 - int(counts[0]))
    assert counts.tolist() == [13]


def test_a_target_between_two_steps_names_both() -> None:
    order = RemovalOrder([np.arange(2.0)])
    with pytest.raises(InputError, match=r"method m: sparsity 0.3 .* choose 0.250 or 0.500"):
        find_sparsity("m", 0.3, 100, order, lambda counts: 100 - 25 * int(counts[0]))


def test_a_target_out_of_reach_names_the_most() -> None:
    with pytest.raises(InputError, match=r"at most 0.500"):
        find_sparsity("m", 0.6, 10, RemovalOrder([np.zeros(5)]), lambda counts: 10 - int(counts[0]))
    with pytest.raises(InputError, match=r"at most 0.000"):
        find_sparsity("m", 0.6, 10, RemovalOrder([]), lambda counts: 10)
