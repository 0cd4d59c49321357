from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from s3prl_compress.training.masking import MaskSettings, draw_masks


def runs(row: torch.Tensor) -> list[int]:
    """Lengths of the stretches of True."""
    text = "".join("x" if value else " " for value in row.tolist())
    return [len(part) for part in text.split()]


def test_the_masked_share_is_the_expected_one() -> None:
    settings = MaskSettings(start_probability=0.065, span=10)
    masks = draw_masks([500] * 200, settings, np.random.default_rng(0))
    # A frame far from the ends is free if none of the 10 starts before it was drawn.
    expected = 1 - (1 - 0.065 * 500 / 491) ** 10
    assert masks[:, 20:-20].float().mean().item() == pytest.approx(expected, abs=0.01)


def test_spans_are_whole_and_padding_is_never_masked() -> None:
    counts = [199, 50, 12]
    masks = draw_masks(counts, MaskSettings(), np.random.default_rng(1))
    assert masks.shape == (3, 199)
    for row, count in zip(masks, counts, strict=True):
        assert not row[count:].any()
        assert row.any()
        assert min(runs(row)) >= 10


def test_the_mean_number_of_spans_is_not_rounded() -> None:
    settings = MaskSettings(start_probability=0.025, span=1, minimum=1)
    masks = draw_masks([100] * 4000, settings, np.random.default_rng(2))
    assert masks.sum(1).float().mean().item() == pytest.approx(2.5, abs=0.05)
    assert set(masks.sum(1).tolist()) == {2, 3}


@pytest.mark.parametrize("frames", [1, 2, 9, 10, 11])
def test_short_utterances_have_a_masked_frame(frames: int) -> None:
    masks = draw_masks([frames], MaskSettings(), np.random.default_rng(0))
    assert masks.any()
    if 1 < frames <= 10:
        assert not masks[0, 0]


def test_the_generator_decides() -> None:
    first, again, other = (
        draw_masks([100, 80], MaskSettings(), np.random.default_rng([0, number]))
        for number in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_impossible_settings() -> None:
    with pytest.raises(ValidationError):
        MaskSettings(span=0)
