"""Whisper's encoder against transformers' feature extractor and encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    EncoderShape,
    SpeechEncoder,
    fingerprint,
    load,
    macs,
    random_encoder,
    save,
)
from s3prl_compress.encoder.cost import count_macs, nonzero_parameters
from s3prl_compress.encoder.front_ends.whisper import log_mel, sinusoids

from ...support.baselines import baselines, noise

HALF_MINUTE = 30 * 16_000


def tone(*lengths: int) -> list[Tensor]:
    """Chirps with silence between them, so that the clipping of quiet frames matters."""
    time = torch.arange(max(lengths)) / 16_000
    wave = torch.sin(2 * torch.pi * 300 * time * (1 + time / 10)) * (torch.sin(3 * time) > 0)
    return [0.3 * wave[:length] for length in lengths]


def model(positions: int = 1500, mel_bins: int = 80, **sizes: Any) -> WhisperModel:
    """Return transformers' model, all of whose weights matter."""
    config = WhisperConfig(
        **{
            "d_model": 48,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 80,
            "decoder_ffn_dim": 8,
            "num_mel_bins": mel_bins,
            "max_source_positions": positions,
            "vocab_size": 16,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
            "dropout": 0.3,
            "encoder_layerdrop": 0.3,
            **sizes,
        }
    )
    result = WhisperModel(config).eval()
    table = result.encoder.embed_positions.weight.clone()
    baselines.randomise(result)
    result.encoder.embed_positions.weight.data.copy_(table)
    return result


def their_states(
    reference: WhisperModel, waveform: Tensor, mel_bins: int = 80, seconds: int = 30
) -> list[Tensor]:
    """Return transformers' L + 1 states of one utterance of at most one block."""
    extractor = WhisperFeatureExtractor(feature_size=mel_bins, chunk_length=seconds)
    values = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        output = reference.encoder(values["input_features"], output_hidden_states=True)
    # transformers 5 lists the last layer's output before the final LayerNorm.
    return [*output.hidden_states[:-1], output.last_hidden_state]


def difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    assert len(ours) == len(theirs)
    return max(float((one - other).abs().max()) for one, other in zip(ours, theirs, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one-second blocks."""
    path = tmp_path_factory.mktemp("whisper") / "hf"
    model(50).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> WhisperModel:
    loaded: WhisperModel = WhisperModel.from_pretrained(folder).eval()
    return loaded


def states(encoder: SpeechEncoder, waveforms: list[Tensor]) -> list[list[Tensor]]:
    """Return each utterance's own frames of all hidden states."""
    with torch.no_grad():
        hidden, counts = encoder(waveforms)
    return [
        [state[number, :count] for state in hidden] for number, count in enumerate(counts.tolist())
    ]


@pytest.mark.parametrize("mel_bins", [80, 128])
def test_features_and_states_are_those_of_transformers(mel_bins: int, tmp_path: Path) -> None:
    reference = model(mel_bins=mel_bins)
    reference.save_pretrained(tmp_path)
    encoder = load(tmp_path)
    extractor = WhisperFeatureExtractor(feature_size=mel_bins)
    for waveform in (*tone(35_000), *noise(HALF_MINUTE)):
        theirs = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
        padded = torch.nn.functional.pad(waveform, (0, HALF_MINUTE - len(waveform)))
        ours = log_mel(padded[None], mel_bins)
        assert ours.shape == (1, mel_bins, 3000)
        assert difference([ours], [theirs["input_features"]]) <= 1e-5
    (waveform,) = tone(35_000)
    (own,) = states(encoder, [waveform])
    wanted = [state[0, :109] for state in their_states(reference, waveform, mel_bins)]
    assert [state.shape for state in own] == [(109, 48)] * 3
    assert difference(own, wanted) <= 1e-5


def test_log_mel_frames_of_any_type_are_computed_in_float32() -> None:
    (waveform,) = tone(16_000)
    ours = log_mel(waveform.bfloat16()[None], 80)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, log_mel(waveform.bfloat16().float()[None], 80))


@pytest.mark.parametrize("samples", [1, 161, 15_999, 16_000, 16_160, 16_161, 40_000, 48_000])
def test_blocks_are_encoded_alone_and_joined(
    samples: int, folder: Path, reference: WhisperModel
) -> None:
    encoder = load(folder)
    encoder.pad_short = True
    (waveform,) = tone(samples)
    count = max(round(samples / 320), 1)
    (own,) = states(encoder, [waveform])
    blocks = [their_states(reference, part, seconds=1) for part in waveform.split(16_000)]
    wanted = [torch.cat(parts, dim=1)[0, :count] for parts in zip(*blocks, strict=True)]
    assert own[0].shape == (count, 48)
    assert difference(own, wanted) <= 1e-5


@pytest.mark.parametrize("pad", ["full", "none"])
def test_an_utterance_does_not_depend_on_its_batch_or_on_the_mode(pad: Any, folder: Path) -> None:
    encoder = load(folder, pad=pad)
    waveforms = [*tone(161, 9_000, 15_999), *noise(16_161, 50_000)]
    together = states(encoder, waveforms)
    for waveform, own in zip(waveforms, together, strict=True):
        (alone,) = states(encoder, [waveform])
        assert own[0].shape[0] == round(len(waveform) / 320)
        assert difference(own, alone) <= 1e-5
        encoder.train()
        assert difference(states(encoder, [waveform])[0], alone) == 0
        encoder.eval()
    encoder.padding = "fairseq"
    assert difference(states(encoder, waveforms)[1], together[1]) == 0


def test_unpadded_audio_has_the_same_features_and_ends_with_its_positions(
    folder: Path, reference: WhisperModel
) -> None:
    encoder = load(folder, pad="none")
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=1)
    for samples in (161, 6_300, 9_000, 15_999, 16_000):
        (waveform,) = tone(samples)
        frames = -(-samples // 320)
        values = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
        cut = values["input_features"][..., : 2 * frames]
        shorter = WhisperModel(
            WhisperConfig(**reference.config.to_dict() | {"max_source_positions": frames})
        ).eval()
        weights = reference.state_dict()
        weights["encoder.embed_positions.weight"] = weights["encoder.embed_positions.weight"][
            :frames
        ]
        shorter.load_state_dict(weights)
        with torch.no_grad():
            output = shorter.encoder(cut, output_hidden_states=True)
        wanted = [*output.hidden_states[:-1], output.last_hidden_state]
        (own,) = states(encoder, [waveform])
        count = round(samples / 320)
        assert difference(own, [state[0, :count] for state in wanted]) <= 1e-5


def test_unpadded_is_another_model(folder: Path, tmp_path: Path) -> None:
    padded, unpadded = load(folder), load(folder, pad="none")
    assert fingerprint(padded) != fingerprint(unpadded)
    assert unpadded.provenance.base == f"{folder} (pad: none)"
    (long,) = noise(16_000)
    assert difference(states(padded, [long])[0], states(unpadded, [long])[0]) <= 1e-6
    (short,) = noise(5_000)
    assert difference(states(padded, [short])[0][1:], states(unpadded, [short])[0][1:]) > 0.1
    assert macs(unpadded.shape, [5_000]) < 0.4 * macs(padded.shape, [5_000])
    again = load(save(unpadded, tmp_path / "saved"))
    assert fingerprint(again) == fingerprint(unpadded)
    assert fingerprint(load(tmp_path / "saved", pad="full")) == fingerprint(padded)
    assert load(tmp_path / "saved", pad="full").provenance.base == str(folder)
    with pytest.raises(InputError, match="pad: applies to Whisper's encoder; this is a hubert"):
        load("hubert_demo", pad="none")
    with pytest.raises(InputError, match="pad 'some': choose one of full, none"):
        load(folder, pad="some")  # type: ignore[arg-type]


def test_parameters_and_multiply_adds_are_those_of_transformers(
    folder: Path, reference: WhisperModel
) -> None:
    encoder = load(folder)
    theirs = sum(parameter.numel() for parameter in reference.encoder.parameters())
    # Every encoder here has an embedding for masked frames, which only training uses.
    assert nonzero_parameters(encoder) == theirs + 48
    waveform = torch.zeros(16_000)
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=1)
    values = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    counted = count_macs(lambda _: reference.encoder(values["input_features"]), [1])
    for samples, blocks in ((161, 1), (16_000, 1), (40_000, 3)):
        filters = 80 * 201 * 100
        assert macs(encoder.shape, [samples]) == blocks * (counted + filters)


def test_multiply_adds_are_the_closed_form(folder: Path) -> None:
    shape = load(folder).shape
    width, frames, layer = shape.hidden, 50, shape.layers[0]
    total = 80 * 201 * 2 * frames  # mel filters
    total += 2 * frames * width * 80 * 3 + frames * width * width * 3  # convolutions
    for _ in shape.layers:
        total += frames * width * (2 * layer.qk_size + 2 * layer.vo_size + 2 * layer.ffn)
        total += frames**2 * (layer.qk_size + layer.vo_size)
    assert macs(shape, [161]) == total


def test_random_weights_have_whispers_positions(reference: WhisperModel) -> None:
    table = reference.encoder.embed_positions.weight
    assert torch.allclose(sinusoids(50, 48), table, atol=1e-5)


def test_positions_are_never_trained(folder: Path) -> None:
    encoder = load(folder)
    hidden, _ = encoder(noise(5_000))
    hidden[-1].sum().backward()
    assert encoder.get_parameter("feature_extractor.embed_positions.weight").grad is None
    assert encoder.get_parameter("feature_extractor.conv1.weight").grad is not None


@pytest.mark.parametrize(
    "change",
    [
        {"learned_positions": None},
        {"convs": [{"width": 16, "kernel": 10, "stride": 5}]},
        {"relative_position": {"buckets": 320, "max_distance": 800}},
        {"front_end": None},
        {"front_end": {"mel_bins": 80, "pad": "some"}},
        {"front_end": {"mel_bins": 10**9}},
    ],
)
def test_a_shape_that_contradicts_itself_is_refused(change: dict[str, Any], folder: Path) -> None:
    data = load(folder).shape.model_dump(mode="json")
    EncoderShape.model_validate(data)
    with pytest.raises(ValueError, match=r"whisper|front_end"):
        EncoderShape.model_validate(data | change)


def test_memory_counts_the_padding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3prl_compress.encoder import memory

    monkeypatch.setattr(memory, "available_bytes", lambda device: 1 << 20)
    encoder = random_encoder(load(folder).shape.model_copy(update={"learned_positions": 1500}))
    assert encoder.shape.samples_computed(400) == HALF_MINUTE
    with pytest.raises(InputError, match=r"need about .* GiB"):
        encoder(noise(*[400] * 3))
