"""transformers' Whisper folders: tiny to large-v3, turbo, distilled and English-only models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ..common.errors import InputError
from ..common.model_errors import first_mistake
from ..encoder.importers.transformers_folder import read_weights
from .model import SETTINGS, TIED
from .shape import WhisperShape, dense_shape

_SIZES = {
    "hidden": "d_model",
    "mel_bins": "num_mel_bins",
    "vocabulary": "vocab_size",
    "audio_positions": "max_source_positions",
    "text_positions": "max_target_positions",
    "encoder_heads": "encoder_attention_heads",
    "decoder_heads": "decoder_attention_heads",
    "encoder_layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "encoder_ffn": "encoder_ffn_dim",
    "decoder_ffn": "decoder_ffn_dim",
}


def read_transformers(
    folder: Path, config: dict[str, Any]
) -> tuple[WhisperShape, dict[str, Any], dict[str, Tensor], tuple[Path, ...]]:
    """Return shape, settings, weights and the files that they were read from.

    Args:
        folder: a folder of transformers.
        config: content of its `config.json`.

    Raises:
        InputError: a size is missing or impossible, the output projection is not tied to the
            embedding, or a file is missing or damaged.
    """
    path = folder / "config.json"
    missing = [name for name in _SIZES.values() if name not in config]
    if missing:
        raise InputError(f"{path}: {missing[0]} is missing")
    if config.get("tie_word_embeddings") is False or config.get("quantization_config"):
        raise InputError(
            f"{path}: output projections of their own and quantised weights are not supported"
        )
    try:
        shape = dense_shape(**{name: config[key] for name, key in _SIZES.items()})
    except ValueError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from error
    settings = {name: config[name] for name in SETTINGS if name in config}
    tensors, files = read_weights(folder)
    if not any(name.startswith("model.") for name in tensors):  # saved without the projection
        tensors = {f"model.{name}": tensor for name, tensor in tensors.items()}
    tensors.pop(TIED, None)
    return shape, settings, tensors, files
