from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm

from s3prl_compress.encoder import SpeechEncoder
from s3prl_compress.encoder.front_ends.convolutional import WeightNormedConv

from ...support.baselines import noise, states_of
from ..mixed import mixed_encoder

FACTORS = ["parametrizations.weight.original0", "parametrizations.weight.original1"]


def twins() -> tuple[WeightNormedConv, nn.Module]:
    """Our convolution and torch's, parametrised, with the same weights."""
    torch.manual_seed(0)
    ours = WeightNormedConv(12, 12, 5, padding=2, groups=3)
    nn.init.uniform_(ours.get_parameter(FACTORS[0]), 0.5, 2)
    theirs = weight_norm(nn.Conv1d(12, 12, 5, padding=2, groups=3), dim=2)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def test_weight_norm_is_torchs_under_the_same_names() -> None:
    ours, theirs = twins()
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["bias", *FACTORS]
    x = torch.randn(2, 12, 9)
    torch.testing.assert_close(ours(x), theirs(x))
    weight = torch.randn(12, 4, 5)
    ours.set_weight(weight)
    theirs.weight = weight
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_changed_factors_are_seen_at_once() -> None:
    ours, theirs = twins()
    x = torch.randn(1, 12, 9)
    with torch.no_grad():
        ours(x)
        for conv in (ours, theirs):
            conv.get_parameter(FACTORS[0]).data.mul_(3)
        torch.testing.assert_close(ours(x), theirs(x))
        for scale in (1.0, 2.0, 3.0, 4.0):
            factor = ours.get_parameter(FACTORS[0]) * scale
            found = functional_call(ours, {FACTORS[0]: factor}, (x,))
            expected = functional_call(theirs, {FACTORS[0]: factor}, (x,))
            torch.testing.assert_close(found, expected)
            del factor


def torch_save(encoder: SpeechEncoder) -> SpeechEncoder:
    file = io.BytesIO()
    torch.save(encoder, file)
    file.seek(0)
    # A whole module that this test has just written: weights alone would test something else.
    result: SpeechEncoder = torch.load(file, weights_only=False)
    return result


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder)), torch_save],
    ids=["deepcopy", "pickle", "torch.save"],
)
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_an_encoder_can_be_copied(
    family: str, duplicate: Callable[[SpeechEncoder], SpeechEncoder]
) -> None:
    encoder = mixed_encoder(family)
    waveforms = noise(6_000, 3_000)
    expected = states_of(encoder, waveforms)
    twin = duplicate(encoder)
    for parameter in encoder.parameters():
        parameter.data.zero_()
    for one, other in zip(states_of(twin, waveforms), expected, strict=True):
        assert torch.equal(one, other)


def test_an_encoder_runs_in_a_spawned_process() -> None:
    encoder = mixed_encoder("hubert").requires_grad_(False)
    waveforms = noise(3_000)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(last_state, (encoder, waveforms))
    torch.testing.assert_close(torch.tensor(found), states_of(encoder, waveforms)[-1])


def last_state(encoder: SpeechEncoder, waveforms: list[torch.Tensor]) -> list[object]:
    result: list[object] = states_of(encoder, waveforms)[-1].tolist()
    return result
