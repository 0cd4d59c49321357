"""Encoders without Transformer layers, or with repeated hidden states, on tasks and engines."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder, save
from s3prl_compress.evaluation import score
from s3prl_compress.methods import compress

from .test_seeds import RECIPES, corpora

__all__ = ["corpora"]


@pytest.fixture(scope="module")
def bare() -> SpeechEncoder:
    return compress(random_encoder(NAMED_SHAPES["hubert_tiny"]), "layers", keep=0)


@pytest.mark.parametrize("task", RECIPES)
def test_onepass(task: str, bare: SpeechEncoder, corpora: dict[str, Path], tmp_path: Path) -> None:
    recipe = tmp_path / "short.yaml"
    recipe.write_text(yaml.safe_dump({"extends": "smoke", **RECIPES[task]}), encoding="utf-8")
    record = score(bare, task, data=corpora[task], output=tmp_path / "out", recipe=recipe)
    assert record.upstream.methods == ("layers(keep=0)",)
    assert record.test_size > 0


@pytest.mark.parametrize("task", ["ks", "asr"])  # means over frames, and all frames
def test_repeated_states(task: str, corpora: dict[str, Path], tmp_path: Path) -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    repeating = compress(encoder, "layers", keep=1, repeat_states=True)
    recipe = tmp_path / "short.yaml"
    recipe.write_text(yaml.safe_dump({"extends": "smoke", **RECIPES[task]}), encoding="utf-8")
    record = score(repeating, task, data=corpora[task], output=tmp_path / "out", recipe=recipe)
    assert record.upstream.methods == ("layers(keep=1, repeat_states=True)",)
    assert record.layer_weights is not None
    assert len(record.layer_weights) == encoder.shape.states


@pytest.mark.s3prl
@pytest.mark.parametrize("task", ["ks", "asr"])
def test_s3prl(task: str, bare: SpeechEncoder, corpora: dict[str, Path], tmp_path: Path) -> None:
    recipe = tmp_path / "short.yaml"
    values = {
        "extends": "smoke",
        **RECIPES[task],
        "total_steps": 2,
        "eval_step": 1,
        "learning_rates": [1e-3],
    }
    recipe.write_text(yaml.safe_dump(values), encoding="utf-8")
    record = score(
        save(bare, tmp_path / "bare"),
        task,
        data=corpora[task],
        output=tmp_path / "out",
        recipe=recipe,
        engine="s3prl",
    )
    assert record.engine == "s3prl"
    assert record.test_size > 0
