"""Encoders as folders of transformers, for whoever works with transformers alone.

transformers knows one width for all layers' attention and FFN, and dense linears only; everything
else is refused, or made dense on request. transformers itself is not imported.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError
from ..files import folder_atomically
from .checkpoint import CONFIG_FILE, WEIGHTS_FILE, fingerprint
from .linear import LowRankLinear, SharedLinear, SparseLinear, dense_bias, dense_weight
from .model import SAMPLING_RATE, SpeechEncoder
from .shape import LINEARS, EncoderShape
from .stored import stored_tensors, stored_type

_MODELS = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}
_MARK = "s3prl_compress"
"""Key of config.json under which the history stands; transformers keeps it and looks not at it."""


def export_transformers(
    encoder: SpeechEncoder,
    folder: str | Path,
    *,
    dense: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write `encoder` as a folder that transformers' `from_pretrained` reads, whole or not at all.

    A CTC head goes along: the folder is one of `...ForCTC` then, with its `vocab.json`.

    Args:
        encoder: a HuBERT, wav2vec2 or WavLM.
        folder: new, empty, or an earlier export.
        dense: write low-rank, shared and sparse linears as the dense ones that they stand for.
        dtype: of the weights, torch.float32 or torch.float16.

    Raises:
        InputError: transformers has no place for this encoder, `folder` holds something else, or
            a weight is too large for float16.
    """
    folder = check_export_output(folder)
    _check_shape(encoder.shape, dense)
    tensors = stored_tensors(_dense_state(encoder), dtype)
    head = encoder.head
    if head is not None:
        tensors = _with_prefix(tensors, encoder.shape.family)
    config = _config(encoder) | {"dtype": stored_type(dtype)}
    files = {CONFIG_FILE: config, "preprocessor_config.json": _preprocessor(encoder)}
    if head is not None:
        files["vocab.json"] = {symbol: number for number, symbol in enumerate(head.vocabulary)}
    with folder_atomically(folder) as temporary:
        for name, content in files.items():
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (temporary / name).write_text(text, encoding="utf-8")
        save_file(tensors, temporary / WEIGHTS_FILE, metadata={"format": "pt"})
    return folder


def check_export_output(folder: str | Path) -> Path:
    """Return the folder if an export may be written there.

    Raises:
        InputError: it holds something that is no earlier export.
    """
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    try:
        earlier = _MARK in json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        earlier = False
    if not earlier:
        raise InputError(f"{folder}: exists and is no earlier export; choose another name")
    return folder


def _check_shape(shape: EncoderShape, dense: bool) -> None:
    """Raise one `InputError` that names what transformers cannot hold."""
    faults = []
    if shape.family not in _MODELS:
        faults.append(f"the family {shape.family}")
    if not shape.projection:
        faults.append("no projection behind the convolutions")
    if shape.feature_scale:
        faults.append("a scale behind the last convolution")
    every = tuple(range(shape.original_heads))
    whole = shape.original_heads * shape.head_size == shape.hidden and all(
        tuple(head.original for head in layer.heads) == every
        and all(head.qk == head.vo == shape.head_size for head in layer.heads)
        for layer in shape.layers
    )
    if not whole:
        faults.append("pruned attention heads")
    if len({layer.ffn for layer in shape.layers}) > 1:
        faults.append("FFNs of different widths")
    elif shape.layers[0].ffn == 0:
        faults.append("FFNs without units")
    if faults:
        raise InputError(f"export: transformers has no place for {', '.join(faults)}")
    kinds = Counter(getattr(layer, name).kind for layer in shape.layers for name in LINEARS)
    others = {kind: count for kind, count in kinds.items() if kind != "dense"}
    if others and not dense:
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        raise InputError(
            f"export: transformers has no place for {found} linears; --dense writes the dense ones "
            "that they stand for, as large as before compression"
        )


def _dense_state(encoder: SpeechEncoder) -> dict[str, Tensor]:
    state: dict[str, Tensor] = encoder.state_dict()
    for name, module in encoder.named_modules():
        if isinstance(module, LowRankLinear | SharedLinear | SparseLinear):
            for own in module.state_dict():
                del state[f"{name}.{own}"]
            state[f"{name}.weight"] = dense_weight(module)
            state[f"{name}.bias"] = dense_bias(module)
    return state


def _with_prefix(tensors: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    """Name the tensors as `...ForCTC` does: the encoder behind its family's name."""
    renamed = {}
    for name, tensor in tensors.items():
        own = name.startswith("head.linear.")
        head = name.replace("head.linear.", "lm_head.", 1)
        renamed[head if own else f"{family}.{name}"] = tensor
    return renamed


def _config(encoder: SpeechEncoder) -> dict[str, Any]:
    shape, head, history = encoder.shape, encoder.head, encoder.provenance
    kind = "Model" if head is None else "ForCTC"
    assert shape.position_conv is not None  # of the families that are let through
    config: dict[str, Any] = {
        "architectures": [f"{_MODELS[shape.family]}{kind}"],
        "model_type": shape.family,
        "hidden_size": shape.hidden,
        "num_hidden_layers": len(shape.layers),
        "num_attention_heads": shape.original_heads,
        "intermediate_size": shape.layers[0].ffn,
        "hidden_act": "gelu",
        "layer_norm_eps": shape.layer_norm_eps,
        "do_stable_layer_norm": shape.pre_norm,
        "num_feat_extract_layers": len(shape.convs),
        "conv_dim": [conv.width for conv in shape.convs],
        "conv_kernel": [conv.kernel for conv in shape.convs],
        "conv_stride": [conv.stride for conv in shape.convs],
        "conv_bias": shape.conv_bias,
        "feat_extract_norm": shape.conv_norm,
        "feat_extract_activation": "gelu",
        "feat_proj_layer_norm": True,
        "num_conv_pos_embeddings": shape.position_conv.kernel,
        "num_conv_pos_embedding_groups": shape.position_conv.groups,
    }
    if shape.relative_position is not None:
        config["num_buckets"] = shape.relative_position.buckets
        config["max_bucket_distance"] = shape.relative_position.max_distance
    if head is not None:
        config |= {"vocab_size": len(head.vocabulary), "pad_token_id": head.blank}
    config[_MARK] = {
        "base": history.base,
        "base_revision": history.base_revision,
        "random_weights": history.random_weights,
        "methods": list(history.chain()),
        "sha256": fingerprint(encoder),
    }
    return config


def _preprocessor(encoder: SpeechEncoder) -> dict[str, Any]:
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": encoder.normalize,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        # Published models with a GroupNorm were trained without a mask, the others with one.
        "return_attention_mask": encoder.shape.conv_norm == "layer",
        "sampling_rate": SAMPLING_RATE,
    }
