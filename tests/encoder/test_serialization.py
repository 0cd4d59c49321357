"""Checkpoint folders in half precision: half the size, one identity, nothing lost silently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    NAMED_SHAPES,
    LinearShape,
    SpeechEncoder,
    fingerprint,
    load,
    random_encoder,
    save,
)
from s3prl_compress.encoder.serialization import stored_tensors
from s3prl_compress.pretraining.recipe import load_recipe

TINY = NAMED_SHAPES["hubert_tiny"]
WEIGHT = "encoder.layers.1.feed_forward.output_dense.weight"
RECIPE = Path(__file__).parents[2] / "recipes" / "pretrain" / "hubert_demo.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(random_encoder(TINY), tmp_path / "half", dtype=torch.float16)


def test_weights_are_rounded_once_and_loaded_as_float32(folder: Path, tmp_path: Path) -> None:
    original, loaded = random_encoder(TINY), load(folder)
    assert json.loads((folder / "config.json").read_text())["stored_as"] == "float16"
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, original.state_dict()[name].half().float())
    assert fingerprint(loaded) != fingerprint(original)
    for dtype in (torch.float16, torch.float32):
        again = load(save(loaded, tmp_path / str(dtype), dtype=dtype))
        assert fingerprint(again) == fingerprint(loaded)


def test_the_demo_shape_takes_less_than_12_mb(tmp_path: Path) -> None:
    encoder = random_encoder(load_recipe(RECIPE).model.shape())
    folder = save(encoder, tmp_path / "demo", dtype=torch.float16)
    whole = save(encoder, tmp_path / "whole")
    sizes = [(place / "model.safetensors").stat().st_size for place in (folder, whole)]
    assert sizes[0] < 12_000_000
    assert sizes[0] < 0.51 * sizes[1]


def test_integers_stay_integers(tmp_path: Path) -> None:
    layer = TINY.layers[0].model_copy(update={"fc1": LinearShape(kind="shared", centroids=3)})
    encoder = random_encoder(TINY.model_copy(update={"layers": (layer, TINY.layers[1])}))
    folder = save(encoder, tmp_path / "shared", dtype=torch.float16)
    stored = load_file(folder / "model.safetensors")
    types = {name.rsplit(".")[-1]: tensor.dtype for name, tensor in stored.items()}
    assert types["assignment"] == torch.uint8
    assert types["centroids"] == torch.float16
    name = "encoder.layers.0.feed_forward.intermediate_dense.assignment"
    assert torch.equal(load(folder).state_dict()[name], encoder.state_dict()[name])


def _with_weight(value: float) -> SpeechEncoder:
    encoder = random_encoder(TINY)
    with torch.no_grad():
        encoder.get_parameter(WEIGHT)[0, 0] = value
    return encoder


def test_a_weight_that_does_not_fit_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    encoder = _with_weight(-7e4)
    with pytest.raises(
        InputError, match=rf"tensor {WEIGHT} holds 70000, above the maximum of float16"
    ) as one:
        save(encoder, tmp_path / "half", dtype=torch.float16)
    assert "\n" not in str(one.value)
    assert not list(tmp_path.iterdir())
    whole = load(save(encoder, tmp_path / "whole"))
    assert whole.get_parameter(WEIGHT)[0, 0].item() == -7e4


@given(value=st.floats(-1e5, 1e5, width=32))
@settings(max_examples=30, deadline=None)
def test_a_weight_fits_or_is_refused(value: float) -> None:
    encoder = _with_weight(value)
    if torch.tensor(value).half().isfinite():
        stored = float(stored_tensors(encoder.state_dict(), torch.float16)[WEIGHT][0, 0])
        assert abs(stored - value) <= max(abs(value) * 2**-11, 2**-25)
    else:
        with pytest.raises(InputError, match="above the maximum of float16"):
            stored_tensors(encoder.state_dict(), torch.float16)


def test_types_are_strict(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"torch\.bfloat16: weights are stored as"):
        save(random_encoder(TINY), tmp_path / "brain", dtype=torch.bfloat16)
    path = folder / "model.safetensors"
    save_file({name: tensor.float() for name, tensor in load_file(path).items()}, path)
    with pytest.raises(InputError, match=r"is stored as F32, but config\.json says float16"):
        load(folder)


def test_folders_from_before_are_float32(tmp_path: Path) -> None:
    folder = save(random_encoder(TINY), tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("stored_as") == "float32"
    (folder / "config.json").write_text(json.dumps(config))
    assert fingerprint(load(folder)) == fingerprint(random_encoder(TINY))
