from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.surgery.largest_weights import kth_largest, largest

VALUES = st.lists(st.sampled_from([0.0, -1.0, 1.0, 2.5, -3e-20, 1e30]), min_size=1)


@given(VALUES, st.data())
def test_the_kth_largest_is_numpys(values: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(values)))
    threshold, ties = kth_largest([torch.tensor([values])], count)
    ranked = np.sort(np.abs(np.float32(values)))[::-1]
    assert threshold == ranked[count - 1]
    assert ties == count - (ranked > threshold).sum()


@given(VALUES, VALUES, st.data())
def test_as_many_as_asked_for_stay_and_none_that_is_smaller(
    one: list[float], other: list[float], data: st.DataObject
) -> None:
    weights = [torch.tensor([one]), torch.tensor(other)]
    present = sum(int(weight.count_nonzero()) for weight in weights)
    count = data.draw(st.integers(0, present))
    masks = largest(weights, count, [1.0, 0.5])
    assert sum(int(mask.sum()) for mask in masks) == count
    scaled = [weight.abs() * scale for weight, scale in zip(weights, (1.0, 0.5), strict=True)]
    kept = torch.cat([size[mask] for size, mask in zip(scaled, masks, strict=True)])
    gone = torch.cat([size[~mask] for size, mask in zip(scaled, masks, strict=True)])
    if len(kept) and len(gone):
        assert kept.min() >= gone.max()
