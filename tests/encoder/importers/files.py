"""Files of other projects for the tests of importers, and how they are refused."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder.importers import import_checkpoint

from ...support.baselines import baselines, small_shape


def transformers_folder(folder: Path, model: nn.Module, **saving: Any) -> Path:
    model.save_pretrained(folder, **saving)  # type: ignore[operator]
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    return folder


def edit_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def weights_of(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def to_pickle(folder: Path, weights: dict[str, Tensor]) -> None:
    """Put the weights into a pickle, as transformers 4 did."""
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def refused(source: Path | str, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        import_checkpoint(source)
    message = str(caught.value)
    assert "\n" not in message
    for word in (*words, Path(source).name):
        assert word in message
    return message


def torchaudio_model(large: bool, wavlm: bool, **changes: Any) -> tuple[dict[str, Any], nn.Module]:
    from torchaudio.models import wav2vec2_model, wavlm_model

    shape = small_shape("wavlm" if wavlm else "hubert", large)
    config: dict[str, Any] = {
        "extractor_mode": "layer_norm" if large else "group_norm",
        "extractor_conv_layer_config": [
            (conv.width, conv.kernel, conv.stride) for conv in shape.convs
        ],
        "extractor_conv_bias": shape.conv_bias,
        "encoder_embed_dim": 48,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 128,
        "encoder_pos_conv_groups": 16,
        "encoder_num_layers": 2,
        "encoder_num_heads": 4,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 80,
        "encoder_ff_interm_dropout": 0.1,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": large,
        "encoder_layer_drop": 0.1,
        "aux_num_out": None,
        **({"encoder_num_buckets": 320, "encoder_max_distance": 800} if wavlm else {}),
        **changes,
    }
    model = (wavlm_model if wavlm else wav2vec2_model)(**config).eval()
    baselines.randomise(model)
    return config | {"normalize_waveform": False}, model


def torchaudio_states(model: Any, waveform: Tensor) -> list[Tensor]:
    """The L - 1 states between layers, and the output (torchaudio does not return the input)."""
    with torch.no_grad():
        between = model.extract_features(waveform[None])[0][:-1]
        return [*between, model(waveform[None])[0]]


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail where more than 20 MB of Python objects are made inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
