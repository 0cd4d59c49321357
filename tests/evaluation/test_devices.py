"""The one-pass engine on another device than the CPU, of which the tests' machines have none.

See `virtual_devices`: an operation of tensors on two devices is an error, as on a GPU, and the
values are those of the CPU. What other threads compute, such as streamed frames, is not covered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from s3prl_compress.encoder import SpeechEncoder, inference
from s3prl_compress.encoder.shape import Family
from s3prl_compress.evaluation import score
from s3prl_compress.probing import recogniser
from s3prl_compress.probing.pooling import pool

from ..support.small import small_encoder, speech
from ..support.small_corpora import (
    write_emotions,
    write_phonemes,
    write_speakers,
    write_transcripts,
)
from ..support.virtual_devices import VirtualDevices

GPU = torch.device("cpu", 1)
CORPORA: dict[str, Callable[[Path], Path]] = {
    "sid": partial(write_speakers, speakers=3),
    "er": write_emotions,
    "asr": partial(write_transcripts, texts=("A", "BE"), train=4),
    "pr": partial(write_phonemes, labels=("AA B", "B"), train=4),
}


@pytest.fixture(autouse=True)
def unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not pack linears for oneDNN, as on a GPU."""
    monkeypatch.setattr(inference, "packing_pays", lambda: False)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
def test_states_and_means(family: Family, layer_norm: bool) -> None:
    def means(device: str | torch.device) -> torch.Tensor:
        encoder: SpeechEncoder = small_encoder(family, layer_norm=layer_norm).eval().to(device)
        return pool(encoder, [wave.to(device) for wave in speech(9000, 7000)])

    with torch.no_grad():
        expected = means("cpu")
        with VirtualDevices():
            found = means(GPU)
            assert found.device == GPU
    assert torch.equal(found, expected)


@pytest.mark.parametrize("task", ["ks", *CORPORA])
def test_scores(
    task: str, tiny_digits_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would take the CPU's way, since the device is called so; a GPU's is torch's own.
    monkeypatch.setattr(recogniser, "run_lstm", lambda rnn, features, counts: rnn(features)[0])
    data = CORPORA[task](tmp_path / "corpus") if task in CORPORA else tiny_digits_corpus
    recipe = tmp_path / "recipe.yaml"
    settings = {"extends": "smoke", "total_steps": 4, "eval_step": 2, "batch_size": 2}
    if task == "asr":
        settings["recognition"] = {"project_dim": 8, "rnn_dim": 8, "rnn_layers": 1}
    recipe.write_text(yaml.safe_dump(settings))
    encoder = small_encoder()

    def scored(device: str) -> tuple[object, ...]:
        record = score(
            encoder, task, data=data, output=tmp_path / device, recipe=recipe, device=device
        )
        return record.score, record.rates, record.layer_weights

    expected = scored("cpu")
    with VirtualDevices():
        assert scored(str(GPU)) == expected
