"""Importer for the encoders of Whisper models: folders of transformers and of this package, and
openai's `.pt` files. The decoder is left behind; `s3prl_compress.whisper` reads whole models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field
from torch import Tensor

from ...common.errors import InputError
from ...common.model_errors import first_mistake
from ..checkpoint import read_config_as
from ..front_ends.whisper import HOP, SAMPLING_RATE, WINDOW
from ..model import FAIRSEQ_EPS, TRANSFORMERS_EPS
from ..named_shapes import whisper_shape
from ..provenance import Provenance
from ..shape import MAX_LAYERS, EncoderShape, LayerShape, dense_layer
from .imported import ImportedCheckpoint, checked_head_size
from .reading import tensors_only
from .registry import Importer, Source, register_importer
from .transformers_folder import extractor_configs, read_weights
from .whisper_source import WHISPER_FORMAT, is_openai_whisper

_SIZES = {
    "hidden": "d_model",
    "mel_bins": "num_mel_bins",
    "positions": "max_source_positions",
    "heads": "encoder_attention_heads",
    "layers": "encoder_layers",
    "ffn": "encoder_ffn_dim",
}
_OPENAI_SIZES = {
    "hidden": "n_audio_state",
    "mel_bins": "n_mels",
    "positions": "n_audio_ctx",
    "heads": "n_audio_head",
    "layers": "n_audio_layer",
}

# Fields of the feature extractor that change its output, with the only value that is supported.
_EXTRACTOR = {"n_fft": WINDOW, "hop_length": HOP, "sampling_rate": SAMPLING_RATE, "dither": 0.0}

# openai's names and transformers', applied one after another.
_OPENAI_NAMES = (
    (r"^(encoder|decoder)\.", r"model.\1."),
    (r"\.blocks\.", ".layers."),
    (r"\.cross_attn_ln\.", ".encoder_attn_layer_norm."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.attn\.", ".self_attn."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"_attn\.out\.", "_attn.out_proj."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.(ln|ln_post)\.", ".layer_norm."),
    (r"\.token_embedding\.", ".embed_tokens."),
    (r"\.positional_embedding$", ".embed_positions.weight"),
)

# transformers' names within the encoder and those of a `SpeechEncoder`.
_NAMES = (
    (r"^(conv1|conv2|embed_positions)\.", r"feature_extractor.\1."),
    (r"^(layers|layer_norm)\.", r"encoder.\1."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.self_attn\.", ".attention."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
)


def recognise(source: Source) -> bool:
    """Say whether a folder or file holds a Whisper model."""
    if source.is_folder:
        content = source.content
        return content.get("model_type") == "whisper" or content.get("format") == WHISPER_FORMAT
    return is_openai_whisper(source.content)


def read(source: Source) -> ImportedCheckpoint:
    """Read the encoder of a Whisper model.

    Raises:
        InputError: a size or setting is missing or not supported, or a file is broken.
    """
    path = source.path
    if not source.is_folder:
        tensors = tensors_only(source.content["model_state_dict"], f"{path}: model_state_dict")
        return ImportedCheckpoint(
            shape=_openai_shape(source.content["dims"], tensors, f"{path}: dims"),
            tensors=_of_encoder(
                {openai_to_transformers(name): own for name, own in tensors.items()}
            ),
            normalize=False,
            files=(path,),
        )
    own_format = source.content.get("format") == WHISPER_FORMAT
    config = read_config_as(_WhisperFolder, WHISPER_FORMAT, path) if own_format else None
    shape = (
        _transformers_shape(source.content, path) if config is None else config.encoder_shape(path)
    )
    normalize = _check_extractor(path)
    tensors, files = read_weights(path, wanted=_in_encoder)
    return ImportedCheckpoint(
        shape=shape,
        tensors=_of_encoder(tensors),
        normalize=normalize,
        normalize_eps=TRANSFORMERS_EPS if normalize else FAIRSEQ_EPS,
        files=files,
        libraries=("torch", "safetensors"),
        provenance=None if config is None else config.provenance,
    )


register_importer(
    Importer(
        "a Whisper model (transformers folder or hub id, openai's .pt, folder of this package), of "
        "which the encoder is taken",
        recognise,
        read,
    )
)


def openai_to_transformers(name: str) -> str:
    """Return transformers' name of one of openai's tensors, of encoder or decoder."""
    return _renamed(name, _OPENAI_NAMES)


class _WhisperShape(BaseModel):
    """The encoder's part of `s3prl_compress.whisper.WhisperShape`."""

    hidden: int
    encoder_heads: int
    mel_bins: int
    audio_positions: int
    encoder: tuple[LayerShape, ...] = Field(max_length=MAX_LAYERS)


class _WhisperFolder(BaseModel):
    """The part of a Whisper folder's `config.json` that its encoder needs."""

    format_version: Literal[1]
    shape: _WhisperShape
    settings: dict[str, Any]
    provenance: Provenance

    def encoder_shape(self, folder: Path) -> EncoderShape:
        where = f"{folder}/config.json"
        _check_activation(self.settings, f"{where}: settings")
        shape = self.shape
        return _shape(
            where,
            hidden=shape.hidden,
            heads=shape.encoder_heads,
            mel_bins=shape.mel_bins,
            positions=shape.audio_positions,
            layers=shape.encoder,
        )


def _transformers_shape(config: Mapping[str, Any], folder: Path) -> EncoderShape:
    where = f"{folder}/config.json"
    _check_activation(config, where)
    if config.get("quantization_config"):
        raise InputError(f"{where}: quantised weights are not supported")
    sizes = _sizes(config, _SIZES, where)
    ffn, layers = sizes.pop("ffn"), sizes.pop("layers")
    return _dense(where, layers, ffn, **sizes)


def _openai_shape(dims: Any, tensors: Mapping[str, Tensor], where: str) -> EncoderShape:
    sizes = _sizes(dims if isinstance(dims, dict) else {}, _OPENAI_SIZES, where)
    first = "encoder.blocks.0.mlp.0.weight"  # `dims` does not say how many FFN units there are
    if first not in tensors or tensors[first].ndim != 2:
        raise InputError(f"{where}: the tensor {first} is missing, or is not a matrix")
    return _dense(where, sizes.pop("layers"), len(tensors[first]), **sizes)


def _sizes(config: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, int]:
    """Return whole numbers by our names."""
    for name in names.values():
        value = config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            state = "is missing" if name not in config else f"is {value!r}, not a whole number"
            raise InputError(f"{where}: {name} {state}")
    return {own: config[name] for own, name in names.items()}


def _dense(
    where: str, layers: int, ffn: int, *, hidden: int, heads: int, **sizes: int
) -> EncoderShape:
    head_size = checked_head_size(hidden, heads, layers, where)
    try:
        layer = dense_layer(heads, head_size, ffn)
    except ValueError as error:
        raise InputError(f"{where}: {first_mistake(error)}") from error
    return _shape(where, hidden=hidden, heads=heads, layers=(layer,) * layers, **sizes)


def _shape(
    where: str,
    *,
    hidden: int,
    heads: int,
    mel_bins: int,
    positions: int,
    layers: tuple[LayerShape, ...],
) -> EncoderShape:
    checked_head_size(hidden, heads, len(layers), where)
    try:
        return whisper_shape(
            hidden=hidden, heads=heads, layers=layers, mel_bins=mel_bins, positions=positions
        )
    except ValueError as error:
        raise InputError(
            f"{where} describes no possible encoder: {first_mistake(error)}"
        ) from error


def _check_activation(config: Mapping[str, Any], where: str) -> None:
    activation = config.get("activation_function", "gelu")
    if activation != "gelu":
        raise InputError(
            f"{where}: activation_function is {activation!r}, which is not supported (only 'gelu')"
        )


def _check_extractor(folder: Path) -> bool:
    """Check the feature extractor's settings; return whether it normalises waveforms."""
    normalize = False
    for config in extractor_configs(folder):
        for name, supported in _EXTRACTOR.items():
            if config.get(name, supported) != supported:
                raise InputError(
                    f"{folder}: the feature extractor's {name} is {config[name]!r}, which is not "
                    f"supported (only {supported!r})"
                )
        normalize = normalize or config.get("do_normalize") is True
    return normalize


def _in_encoder(name: str) -> bool:
    return name.removeprefix("model.").startswith("encoder.")


def _of_encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's tensors by the names of a `SpeechEncoder`."""
    return {
        _renamed(name.removeprefix("model.").removeprefix("encoder."), _NAMES): tensor
        for name, tensor in tensors.items()
        if _in_encoder(name)
    }


def _renamed(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in names:
        name = re.sub(pattern, replacement, name)
    return name
