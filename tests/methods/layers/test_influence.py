"""Block influence against the hidden states of transformers' models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.metrics.pairwise import paired_cosine_distances

from s3prl_compress.encoder import random_encoder
from s3prl_compress.methods.layers import block_influence

from ...support.baselines import NAMES, VARIANTS, baselines, small_shape
from ...support.small import small_encoder, speech


@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_equals_cosine_distances_of_transformers_states(family: str, large: bool) -> None:
    shape = small_shape(family, large, layers=3)
    encoder = random_encoder(shape).eval()
    baselines.randomise(encoder)
    model: Any = baselines.transformers_model(shape)
    names = set(model.state_dict())
    model.load_state_dict(
        {name: tensor for name, tensor in encoder.state_dict().items() if name in names}
    )
    # Not `hidden_states`, the last of which is normalised in models that normalise first.
    streams: list[list[torch.Tensor]] = []
    for layer in model.encoder.layers:
        layer.register_forward_hook(
            lambda module, inputs, output: streams[-1].extend(
                [inputs[0][0], (output[0] if isinstance(output, tuple) else output)[0]]
            )
        )
    waveforms = baselines.noise(9_000, 5_000)
    for waveform in waveforms:
        streams.append([])
        baselines.transformers_states(model, waveform)
    for number, found in enumerate(block_influence(encoder, waveforms)):
        x, y = (
            torch.cat([own[2 * number + side].squeeze(0) for own in streams]) for side in (0, 1)
        )
        expected = paired_cosine_distances(x.numpy(), y.numpy()).mean()
        assert found == pytest.approx(float(expected), abs=1e-5)


def test_the_encoder_is_left_as_it_was() -> None:
    encoder = small_encoder(layers=2)
    assert len(block_influence(encoder, speech(3000), seconds=1)) == 2
    assert not any(layer._forward_hooks for layer in encoder.encoder.layers)
    assert block_influence(small_encoder(layers=0), speech(3000)) == ()
