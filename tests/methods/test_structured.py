from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import fingerprint, load, save
from s3prl_compress.methods import available, compress
from s3prl_compress.training import stages

from ..support.small import assert_same, reached, speech
from ..surgery.test_binarize import encoder_of

SMOKE: dict[str, Any] = {
    "steps": 4,
    "batch_seconds": 2.0,
    "crop_seconds": 0.5,
    "accumulation": 1,
    "workers": 0,
    "precision": "no",
    "log_every": 2,
    "checkpoint_every": 2,
}


@pytest.mark.parametrize(
    ("method", "family", "large", "settings"),
    [
        ("structured", "hubert", False, {"sparsity": 0.4}),
        ("structured", "wavlm", True, {"sparsity": 0.4, "units": "qk,vo,head,ffn,conv"}),
        ("structured", "wav2vec2", False, {"sparsity": 0.3, "head_multiple": 4}),
        (
            "structured",
            "hubert",
            False,
            {"sparsity": 0.3, "equal_heads": False, "gate_init_spread": 1.0},
        ),
        ("dphubert", "hubert", False, {"sparsity": 0.4}),
        ("dphubert", "wavlm", True, {"sparsity": 0.4, "final_steps": 0}),
    ],
)
def test_it_is_smaller_and_saved(
    method: str, family: Any, large: bool, settings: dict[str, Any], tones: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(family, large=large)
    before = fingerprint(encoder)
    smaller = compress(encoder, method, audio=tones, work=tmp_path / "work", **SMOKE | settings)
    assert reached(smaller, encoder) == pytest.approx(settings["sparsity"], abs=0.01)
    assert fingerprint(encoder) == before
    assert smaller.shape.feature_scale == (method == "dphubert")
    (step,) = smaller.provenance.steps
    assert step.method == method
    assert str(tmp_path) not in str(step.settings)
    assert str(tones.parent) not in str(step.settings)
    assert "sha256" in step.settings["audio"]
    save(smaller, tmp_path / "saved")
    assert_same(load(tmp_path / "saved"), smaller, speech(1500, 4000))


def test_heads_of_a_layer_are_equal_unless_told_otherwise(tones: Path) -> None:
    settings = SMOKE | {"audio": tones, "sparsity": 0.4, "units": "qk,vo,ffn"}
    for spread in (0.0, 2.0):
        smaller = compress(encoder_of(), "structured", gate_init_spread=spread, **settings)
        for layer in smaller.shape.layers:
            assert len({(head.qk, head.vo) for head in layer.heads}) <= 1
    unequal = compress(
        encoder_of(), "structured", gate_init_spread=2.0, equal_heads=False, **settings
    )
    layers = unequal.shape.layers
    assert any(len({(head.qk, head.vo) for head in layer.heads}) > 1 for layer in layers)


def test_gates_move_towards_the_target(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {}
    real = stages.train

    def spy(*arguments: Any, **named: Any) -> Any:
        found[named["name"]] = real(*arguments, **named)
        return found[named["name"]]

    monkeypatch.setattr(stages, "train", spy)
    settings = SMOKE | {"steps": 30, "final_steps": 2, "warmup": 0.1}
    compress(encoder_of(), "structured", audio=tones, sparsity=0.5, **settings)
    entries = found["gates"].training
    assert entries[0]["sparsity"] < 0.05
    assert entries[-1]["sparsity"] > 0.3
    assert entries[-1]["target"] == pytest.approx(0.5)
    assert "sparsity" not in found["final"].training[-1]


@pytest.mark.parametrize(("stage", "update"), [("gates", 3), ("final", 1)])
def test_a_killed_run_goes_on_to_the_same_encoder(
    stage: str, update: int, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of()
    settings = SMOKE | {"sparsity": 0.4, "audio": tones}
    expected = compress(encoder, "structured", work=tmp_path / "whole", **settings)
    real = stages.train

    def killed(model: Any, batches: Any, *rest: Any, **named: Any) -> Any:
        def cut(first: int) -> Any:
            for number, batch in enumerate(batches(first), start=first):
                if number == update:
                    raise KeyboardInterrupt
                yield batch

        return real(model, cut if named["name"] == stage else batches, *rest, **named)

    monkeypatch.setattr(stages, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        compress(encoder, "structured", work=tmp_path / "cut", **settings)
    monkeypatch.undo()
    torch.manual_seed(123)  # whatever else was drawn has no say
    found = compress(encoder, "structured", work=tmp_path / "cut", **settings)
    assert fingerprint(found) == fingerprint(expected)


def test_methods_say_that_they_need_audio() -> None:
    for name in ("structured", "dphubert", "distill"):
        info = available()[name]
        assert info.needs == "audio"
        assert info.learns
    with pytest.raises(InputError, match="audio: must be given"):
        compress(encoder_of(), "structured")
    with pytest.raises(InputError, match="no such folder"):
        compress(encoder_of(), "structured", audio="nowhere")


def test_units_must_hold_something_fine(tones: Path) -> None:
    with pytest.raises(InputError, match="units needs one of"):
        compress(encoder_of(), "structured", audio=tones, units="head,attention")
