from __future__ import annotations

import importlib

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from s3prl_compress.probing.spec_augment import SpecAugment
from s3prl_compress.tasks.asr.downstream import recognition_config
from s3prl_compress.tasks.base.task import Settings

SETTINGS = Settings(total_steps=1, batch_size=1, eval_step=1, learning_rates=(1.0,))


@pytest.mark.s3prl
@pytest.mark.parametrize("width", [768, 60, 40])
@pytest.mark.parametrize("trained", [True, False])
def test_equal_seeds_give_what_s3prl_gives(width: int, trained: bool) -> None:
    specaug = importlib.import_module("s3prl.downstream.specaug")
    config = recognition_config(SETTINGS, 1.0, root="", tables="", dictionary="")
    theirs = specaug.SpecAug(**config["specaug"])
    for seed in range(10):
        torch.manual_seed(seed)
        counts = torch.tensor([120, 11, 10, 1, 119])
        features = [torch.randn(int(count), width) for count in counts]
        padded = pad_sequence(features, batch_first=True)
        torch.manual_seed(100 + seed)
        expected, _ = theirs([part.clone().requires_grad_(trained) for part in features])
        after = torch.rand(1)
        torch.manual_seed(100 + seed)
        given = SpecAugment()(padded.requires_grad_(trained), counts)
        assert torch.equal(torch.rand(1), after)  # as many random numbers
        for index, part in enumerate(expected):
            assert torch.equal(given[index, : counts[index]], part)
            assert not given[index, counts[index] :].any()


def test_masks_hide_what_they_say() -> None:
    torch.manual_seed(0)
    features = torch.ones(64, 300, 400)
    given = SpecAugment()(features, torch.full((64,), 300))
    channels, frames = (given == 0).all(1).sum(1), (given == 0).all(2).sum(1)
    assert 0 < channels.max() <= 4 * 49
    assert 0 < frames.max() <= 2 * 39
    assert channels.float().mean().item() == pytest.approx(4 * 24.5, rel=0.2)
