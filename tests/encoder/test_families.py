"""A family from outside the package: one front end class and one importer, nothing else.

It is Whisper's encoder in miniature and under another name, since that is what the two interfaces
must be able to hold; transformers' implementation is the oracle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import s3prl_compress
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    EncoderShape,
    SpeechEncoder,
    cost,
    fingerprint,
    load,
    random_encoder,
    read_config,
    save,
)
from s3prl_compress.encoder.front_ends import (
    FrontEnd,
    FrontEndSettings,
    Padding,
    base,
    register_front_end,
)
from s3prl_compress.encoder.importers import (
    ImportedCheckpoint,
    Importer,
    Source,
    register_importer,
    registry,
)
from s3prl_compress.encoder.importers.reading import read_safetensors
from s3prl_compress.encoder.layers import DerivedBuffers
from s3prl_compress.encoder.shape import dense_layer

from ..support.baselines import TOLERANCE, baselines, noise, states_of

SECONDS, MELS, WINDOW, HOP = 21, 20, 400, 160  # the leaderboard's longest utterance: 20.4 s


class LogMelSettings(FrontEndSettings):
    mels: int
    seconds: int


class LogMelFrontEnd(FrontEnd):
    """Log-mel frames of a fixed duration, two convolutions, sinusoidal positions."""

    settings = LogMelSettings

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__(shape)
        assert isinstance(shape.front_end, LogMelSettings)
        self.samples = shape.front_end.seconds * 16_000
        self.conv1 = nn.Conv1d(shape.front_end.mels, shape.hidden, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.hidden, shape.hidden, 3, stride=2, padding=1)
        self.filters = MelFilters(shape.front_end.mels)
        self.positions = Sinusoids(self.samples // 320, shape.hidden)

    @classmethod
    def check_shape(cls, shape: EncoderShape) -> None:
        if shape.convs or shape.position_conv is not None:
            raise ValueError("log-mel families have no convolutions over samples")

    @classmethod
    def frame_stride(cls, shape: EncoderShape) -> int:
        return 2 * HOP

    @classmethod
    def frames(cls, shape: EncoderShape, samples: int) -> int:
        return -(-samples // (2 * HOP))

    @classmethod
    def frames_computed(cls, shape: EncoderShape, samples: int) -> int:
        assert isinstance(shape.front_end, LogMelSettings)
        return shape.front_end.seconds * 50

    @classmethod
    def minimum_samples(cls, shape: EncoderShape) -> int:
        return 1

    @classmethod
    def feature_width(cls, shape: EncoderShape) -> int:
        return shape.hidden

    def forward(
        self, waveforms: Sequence[Tensor], padding: Padding
    ) -> tuple[Tensor, Tensor | None, list[int]]:
        lengths = [len(waveform) for waveform in waveforms]
        if max(lengths) > self.samples:
            raise InputError(f"this family takes up to {self.samples} samples")
        batch = torch.stack([F.pad(w, (0, self.samples - len(w))) for w in waveforms])
        window = torch.hann_window(WINDOW, device=batch.device)
        spectrum = torch.stft(batch, WINDOW, HOP, window=window, return_complex=True)
        mel = self.filters.matrix.T @ spectrum[..., :-1].abs() ** 2
        log = mel.clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8)
        x = F.gelu(self.conv2(F.gelu(self.conv1((log + 4) / 4)))).transpose(1, 2)
        return x + self.positions.table, None, [-(-length // (2 * HOP)) for length in lengths]


class MelFilters(DerivedBuffers):
    matrix: Tensor

    def __init__(self, mels: int) -> None:
        super().__init__()
        self.mels = mels
        self.build()

    def build(self) -> None:
        from transformers.audio_utils import mel_filter_bank

        bank = mel_filter_bank(
            1 + WINDOW // 2, self.mels, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("matrix", torch.tensor(bank).float(), persistent=False)


class Sinusoids(DerivedBuffers):
    table: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.length, self.width = length, width
        self.build()

    def build(self) -> None:
        step = math.log(10_000) / (self.width // 2 - 1)
        rates = torch.exp(-step * torch.arange(self.width // 2))
        angles = torch.arange(self.length)[:, None] * rates
        table = torch.cat([angles.sin(), angles.cos()], dim=1)
        self.register_buffer("table", table, persistent=False)


def recognise(source: Source) -> bool:
    return source.is_folder and source.content.get("model_type") == "made_up"


def read(source: Source) -> ImportedCheckpoint:
    config, file = source.content, source.path / "model.safetensors"
    heads, width = config["encoder_attention_heads"], config["d_model"]
    layer = dense_layer(heads, width // heads, config["encoder_ffn_dim"])
    seconds = config["max_source_positions"] // 50
    shape = EncoderShape(
        family="made_up",
        hidden=width,
        pre_norm=True,
        original_heads=heads,
        head_size=width // heads,
        front_end=LogMelSettings(mels=config["num_mel_bins"], seconds=seconds),
        layers=(layer,) * config["encoder_layers"],
    )
    tensors = {}
    for name, tensor in read_safetensors(file).items():
        if not name.startswith("encoder.") or "embed_positions" in name:
            continue
        name = name.replace("encoder.conv", "feature_extractor.conv")
        name = name.replace(".self_attn_layer_norm.", ".layer_norm.")
        name = name.replace(".self_attn.", ".attention.")
        name = name.replace(".fc1.", ".feed_forward.intermediate_dense.")
        name = name.replace(".fc2.", ".feed_forward.output_dense.")
        tensors[name] = tensor
        if name.endswith("k_proj.weight"):  # Whisper's keys have no bias
            tensors[name.replace("weight", "bias")] = torch.zeros(width)
    return ImportedCheckpoint(shape, tensors, normalize=False, files=(file,))


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The family, registered for one test."""
    monkeypatch.setattr(base, "FRONT_ENDS", dict(base.FRONT_ENDS))
    monkeypatch.setattr(registry, "IMPORTERS", list(registry.IMPORTERS))
    register_front_end("made_up")(LogMelFrontEnd)
    register_importer(Importer("a made-up folder", recognise, read))


def whisper(folder: Path) -> nn.Module:
    """Save a small Whisper with random weights as a made-up model, and return it."""
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        d_model=48,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=80,
        decoder_ffn_dim=8,
        num_mel_bins=MELS,
        max_source_positions=50 * SECONDS,
        vocab_size=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    model = WhisperModel(config).eval()
    positions = model.encoder.embed_positions.weight.clone()
    baselines.randomise(model)
    model.encoder.embed_positions.weight.data.copy_(positions)
    model.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "made_up"}))
    return model


@pytest.mark.usefixtures("made_up")
def test_its_states_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import WhisperFeatureExtractor

    model = whisper(tmp_path)
    encoder = load(tmp_path)
    waveforms = noise(9_000, 15_999, 400)
    extractor = WhisperFeatureExtractor(feature_size=MELS, chunk_length=SECONDS)
    values = extractor([w.numpy() for w in waveforms], sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        output = model.encoder(values["input_features"], output_hidden_states=True)  # type: ignore[operator]
        states, counts = encoder(waveforms)
    # transformers 5 keeps the last layer's output before the final LayerNorm.
    theirs = [state[:, :50] for state in (*output.hidden_states[:-1], output.last_hidden_state)]
    assert baselines.largest_difference(list(states), theirs) <= TOLERANCE
    assert counts.tolist() == [29, 50, 2]
    alone = states_of(encoder, waveforms[:1])
    assert baselines.largest_difference([state[:1, :29] for state in states], alone) <= TOLERANCE


@pytest.mark.usefixtures("made_up")
def test_it_is_saved_compressed_and_counted_as_any_other(tmp_path: Path) -> None:
    whisper(tmp_path / "whisper")
    encoder = load(tmp_path / "whisper")
    save(encoder, tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["shape"]["front_end"] == {"mels": MELS, "seconds": SECONDS}
    again = load(tmp_path / "saved")
    assert fingerprint(again) == fingerprint(encoder)
    for one, other in zip(
        states_of(again, noise(800)), states_of(encoder, noise(800)), strict=True
    ):
        assert torch.equal(one, other)
    pruned = s3prl_compress.compress(encoder, "magnitude", sparsity=0.2)
    assert cost(pruned).parameters < cost(encoder).parameters
    smaller = s3prl_compress.compress(encoder, "clustering", sparsity=0.2)
    assert cost(smaller).parameters < cost(encoder).parameters
    assert cost(smaller).macs_32 < cost(encoder).macs_32
    assert len(states_of(smaller, noise(800))) == 3
    assert random_encoder(encoder.shape).provenance.random_weights


@pytest.mark.usefixtures("made_up")
def test_its_own_limits_and_settings_are_enforced(tmp_path: Path) -> None:
    whisper(tmp_path)
    encoder = load(tmp_path)
    with pytest.raises(InputError, match=r"takes up to \d+ samples"):
        encoder(noise(SECONDS * 16_000 + 1))
    data = encoder.shape.model_dump(mode="json")
    for wrong in (None, {"mels": "many", "seconds": 21}, {"mels": 20, "seconds": 21, "hop": 2}):
        with pytest.raises(ValueError, match="front_end"):
            EncoderShape.model_validate(data | {"front_end": wrong})
    with pytest.raises(ValueError, match="registered already"):
        register_front_end("hubert")(LogMelFrontEnd)


def test_a_checkpoint_of_a_family_that_is_not_registered_is_named(
    tmp_path: Path, made_up: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper(tmp_path / "whisper")
    encoder = load(tmp_path / "whisper")
    assert isinstance(encoder, SpeechEncoder)
    save(encoder, tmp_path / "saved")
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"no encoder family 'made_up'; there are: hubert"):
        read_config(tmp_path / "saved")
    with pytest.raises(InputError, match="model_type is 'made_up'; accepted are"):
        load(tmp_path / "whisper")
