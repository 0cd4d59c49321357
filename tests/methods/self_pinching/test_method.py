from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder, fingerprint, load, macs, save
from s3prl_compress.encoder.cost import parameters, stored_bytes
from s3prl_compress.encoder.linear import SparseLinear
from s3prl_compress.methods import available, compress
from s3prl_compress.surgery.rebuild import get_linear

from ...support.letters import write_letters
from ...support.small import reached, small_encoder

QUICK: dict[str, Any] = {
    "steps": 6,
    "batch_seconds": 4.0,
    "accumulation": 1,
    "log_every": 2,
    "checkpoint_every": 2,
    "workers": 0,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root)
    return root


def pinched(encoder: SpeechEncoder, letters: Path, **settings: Any) -> SpeechEncoder:
    return compress(encoder, "self_pinching", audio=letters, **QUICK | settings)


def test_single_weights_go_and_the_file_shrinks(letters: Path, tmp_path: Path) -> None:
    encoder = small_encoder()
    before = fingerprint(encoder)
    result = pinched(encoder, letters, granularity="weight", sparsity=0.4)
    assert fingerprint(encoder) == before
    assert reached(result, encoder) == pytest.approx(0.4, abs=1e-3)
    assert parameters(result) == parameters(encoder)
    assert stored_bytes(result) < 0.75 * stored_bytes(encoder)
    assert isinstance(get_linear(result, 0, "fc2"), SparseLinear)
    save(encoder, tmp_path / "before")
    save(result, tmp_path / "after")
    sizes = [(tmp_path / n / "model.safetensors").stat().st_size for n in ("before", "after")]
    assert sizes[1] < 0.85 * sizes[0]
    assert fingerprint(load(tmp_path / "after")) == fingerprint(result)


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_units_go_and_the_encoder_is_smaller(letters: Path, family: str) -> None:
    encoder = small_encoder(family)  # type: ignore[arg-type]
    result = pinched(encoder, letters, sparsity=0.25, final_steps=2)
    assert reached(result, encoder) == pytest.approx(0.25, abs=0.01)
    assert parameters(result) < 0.77 * parameters(encoder)
    assert macs(result.shape, [16_000]) < macs(encoder.shape, [16_000])
    assert all(parameter.requires_grad for parameter in result.parameters())


def test_a_cut_without_training_is_said(letters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = small_encoder()
    pinched(encoder, letters, sparsity=0.4, steps=2, eta=1e-3)
    assert "the rest, up to 0.4, is cut without training" in capsys.readouterr().err
    pinched(encoder, letters, sparsity=0.02, steps=2)
    assert "is cut without training" not in capsys.readouterr().err


def test_only_the_named_units(letters: Path) -> None:
    encoder = small_encoder()
    result = pinched(encoder, letters, sparsity=0.04, units="ffn", steps=2)
    assert all(layer.qk_size == layer.vo_size == 24 for layer in result.shape.layers)
    assert sum(layer.ffn for layer in result.shape.layers) < 20


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
def test_the_objective_ctc_trains_a_head(letters: Path, granularity: str) -> None:
    encoder = small_encoder()
    result = pinched(
        encoder, letters, granularity=granularity, objective="ctc", sparsity=0.2, final_steps=2
    )
    assert encoder.head is None
    assert result.head is not None
    assert result.head.vocabulary == ("<pad>", "|", "a", "b", "c", "d")
    assert reached(result, encoder) == pytest.approx(0.2, abs=0.01)
    name = "feature_extractor.conv_layers.1.conv.weight"
    assert torch.equal(result.state_dict()[name], encoder.state_dict()[name])
    assert "transcripts" in result.provenance.steps[-1].settings


def test_a_killed_run_ends_with_the_same_weights(
    letters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3prl_compress.distillation import stage as learned

    settings: dict[str, Any] = {"granularity": "weight", "sparsity": 0.3, "final_steps": 4}
    whole = pinched(small_encoder(), letters, **settings)
    real = learned.AudioBatches.iterate
    seen = []

    def killed(self: Any, first: int, *rest: Any) -> Any:
        for number, batch in enumerate(real(self, first, *rest), start=first):
            seen.append(number)
            if len(seen) in (4, 10):  # in step 3 of the first stage, and in the final one
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(learned.AudioBatches, "iterate", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pinched(small_encoder(), letters, work=tmp_path, **settings)
    monkeypatch.undo()
    resumed = pinched(small_encoder(), letters, work=tmp_path, **settings)
    assert fingerprint(resumed) == fingerprint(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "pinch"]


def test_bad_settings_are_one_line(letters: Path) -> None:
    with pytest.raises(InputError, match="units go with granularity 'neuron'"):
        pinched(small_encoder(), letters, granularity="weight", units="ffn")
    for granularity in ("weight", "neuron"):
        with pytest.raises(InputError, match=r"sparsity 0\.95 cannot be reached"):
            pinched(small_encoder(), letters, granularity=granularity, sparsity=0.95)


def test_the_defaults_are_a_full_schedule() -> None:
    defaults = available()["self_pinching"].defaults()
    assert defaults["steps"] == 50_000
    assert defaults["final_steps"] == 0
    assert defaults["sparsity"] == 0.65
