"""Every method on Whisper's encoder, which has its own front end and no bias in k."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import EncoderShape, SpeechEncoder, cost, load, random_encoder, save
from s3prl_compress.encoder.front_ends.whisper import WhisperSettings
from s3prl_compress.encoder.shape import dense_layer
from s3prl_compress.methods import compress

from ..support.small import reached, speech, states
from .test_structured import SMOKE

# Blocks of half a second, which are shorter than the tones.
SHAPE = EncoderShape(
    family="whisper",
    hidden=24,
    pre_norm=True,
    key_bias=False,
    original_heads=3,
    head_size=8,
    learned_positions=25,
    front_end=WhisperSettings(mel_bins=8),
    layers=(dense_layer(3, 8, 20),) * 3,
)

WITHOUT_TRAINING: dict[str, tuple[str, dict[str, Any]]] = {
    "clustering": ("clustering", {"sparsity": 0.1}),
    "clustering, share": ("clustering", {"sparsity": 0.1, "form": "share"}),
    "magnitude": ("magnitude", {"sparsity": 0.1}),
    "magnitude, weights": ("magnitude", {"sparsity": 0.1, "granularity": "weight"}),
    "low_rank": ("low_rank", {"sparsity": 0.1}),
}
LEARNED: dict[str, tuple[str, dict[str, Any]]] = {
    "low_rank, audio": ("low_rank", {"sparsity": 0.1}),
    "structured": ("structured", {"sparsity": 0.1, "gate_init_spread": 1.0}),
    "dphubert": ("dphubert", {"sparsity": 0.1}),
    "prune_low_rank": ("prune_low_rank", {"sparsity": 0.1}),
    "self_pinching": ("self_pinching", {"sparsity": 0.05, "final_steps": 1}),
    "self_pinching, weights": ("self_pinching", {"sparsity": 0.05, "granularity": "weight"}),
    "distill": ("distill", {}),
}


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    result = random_encoder(SHAPE)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return result.eval()


def check(smaller: SpeechEncoder, sparsity: float, encoder: SpeechEncoder, folder: Path) -> None:
    """Check the size, the states and the way through a folder."""
    assert cost(smaller).nonzero_parameters <= (1 - sparsity + 0.02) * cost(encoder).parameters
    assert reached(smaller, encoder) == pytest.approx(sparsity, abs=0.02)
    waveforms = speech(700, 17_000)
    own = states(smaller, waveforms)
    assert [len(utterance) for utterance in own] == [4, 4]
    assert [len(utterance[0]) for utterance in own] == [2, 53]
    again = load(save(smaller, folder / "saved"))
    for one, other in zip(states(again, waveforms), own, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not any(name.endswith("k_proj.bias") for name in smaller.state_dict())


@pytest.mark.parametrize("name", WITHOUT_TRAINING)
def test_methods_without_training(name: str, encoder: SpeechEncoder, tmp_path: Path) -> None:
    method, settings = WITHOUT_TRAINING[name]
    smaller = compress(encoder, method, **settings)
    check(smaller, settings["sparsity"], encoder, tmp_path)


def test_layers_are_merged_without_a_bias_in_k(encoder: SpeechEncoder) -> None:
    smaller = compress(encoder, "layers", keep=2, merge=True)
    assert len(states(smaller, speech(700))[0]) == 3
    assert not any(name.endswith("k_proj.bias") for name in smaller.state_dict())
    third = encoder.encoder.layers[2].attention.k_proj.weight
    merged = smaller.encoder.layers[1].attention.k_proj.weight
    torch.testing.assert_close(merged, third)  # W2 + (W3 - W2)


@pytest.mark.parametrize("name", LEARNED)
def test_methods_that_listen(
    name: str, encoder: SpeechEncoder, tones: Path, tmp_path: Path
) -> None:
    method, own = LEARNED[name]
    settings = (
        {"audio": tones} | own
        if method == "low_rank"
        else SMOKE | {"steps": 2, "audio": tones} | own
    )
    if method == "distill":
        settings["teacher"] = encoder
    smaller = compress(encoder, method, **settings)
    check(smaller, own.get("sparsity", 0.0), encoder, tmp_path)


@pytest.mark.parametrize(
    ("method", "message"),
    [("magnitude", "cannot be reached"), ("structured", "has no channels that could be pruned")],
)
def test_its_convolutions_are_not_pruned(
    method: str, message: str, encoder: SpeechEncoder, tones: Path
) -> None:
    audio = {} if method == "magnitude" else SMOKE | {"audio": tones}
    with pytest.raises(InputError, match=message) as caught:
        compress(encoder, method, sparsity=0.1, units="conv", **audio)
    assert "\n" not in str(caught.value)
