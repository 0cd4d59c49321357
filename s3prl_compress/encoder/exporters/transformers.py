"""Export as a folder of transformers, for use without this package.

transformers has one width for the attention and FFN of all layers, and dense linear layers only. On
request, an encoder is written as the dense one that computes the same; if there is none, it is
refused. transformers itself is not imported.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...common.errors import InputError
from ...common.files import folder_atomically
from ...common.validation import check_folder_output
from ..checkpoint import CONFIG_FILE, WEIGHTS_FILE, check_weights, fingerprint
from ..companions import as_json, preprocessor_config, tokenizer_files
from ..filling import added_zeros, can_be_filled, dense_ffn, dense_form, fill_with_zeros
from ..linear import LowRankLinear, SharedLinear, SparseLinear, dense_bias, dense_weight
from ..model import TRANSFORMERS_EPS, SpeechEncoder
from ..provenance import EXPORT_MARK
from ..serialization import STORED_TYPES, stored_tensors, stored_type
from ..shape import LINEARS, EncoderShape
from .target import ExportOptions, ExportTarget

_MODELS = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}


def export_transformers(
    encoder: SpeechEncoder,
    folder: str | Path,
    *,
    dense: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write `encoder` as a folder that transformers' `from_pretrained` reads.

    The folder is written completely or not at all. An encoder with a CTC head becomes a model of
    the class `...ForCTC`, with its `vocab.json`.

    Args:
        encoder: a HuBERT, wav2vec2 or WavLM encoder.
        folder: new, empty, or an earlier export.
        dense: write low-rank, shared and sparse linear layers as equivalent dense ones, and fill
            pruned heads and FFN units with zeros; see `filling`.
        dtype: number format of the weights, torch.float32 or torch.float16.

    Raises:
        InputError: transformers cannot represent this encoder, `folder` holds something else, or a
            weight is too large for float16.
    """
    folder = check_export_output(folder)
    _check_shape(encoder.shape, dense)
    check_weights(encoder, f"{folder}: not written")
    tensors = stored_tensors(fill_with_zeros(encoder.shape, _dense_state(encoder)), dtype)
    head = encoder.head
    if head is not None:
        tensors = _with_prefix(tensors, encoder.shape.family)
    config = _config(encoder) | {"dtype": stored_type(dtype)}
    files = {CONFIG_FILE: config, "preprocessor_config.json": _preprocessor(encoder)}
    if head is not None:
        files |= tokenizer_files(head.vocabulary, head.blank)
    with folder_atomically(folder) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(as_json(content))
        save_file(tensors, temporary / WEIGHTS_FILE, metadata={"format": "pt"})
    return folder


def export_notes(encoder: SpeechEncoder) -> tuple[str, ...]:
    """Return what a user of the export has to know, one sentence each."""
    notes = []
    kinds = _other_linears(encoder.shape)
    if kinds:
        notes.append(f"{kinds} linears are written as dense linears")
    if added := added_zeros(encoder.shape):
        counts = ", ".join(f"{count:,} {name}" for name, count in added.items())
        notes.append(
            f"filled with zeros: {counts}; the hidden states stay the same, and the model is as "
            "large and slow as a dense one"
        )
    repeated = encoder.shape.states - len(encoder.shape.layers) - 1
    if repeated:
        notes.append(
            f"transformers returns each hidden state once, so that {repeated} repeated ones are "
            "missing; the last one is the same"
        )
    if encoder.normalize and encoder.normalize_eps != TRANSFORMERS_EPS:
        quiet = 1e-6  # variance at an rms of 0.001
        louder = math.sqrt((quiet + encoder.normalize_eps) / (quiet + TRANSFORMERS_EPS))
        notes.append(
            f"when normalising, transformers adds {TRANSFORMERS_EPS:g} to the variance, and this "
            f"encoder {encoder.normalize_eps:g}: transformers' input is {louder:.2g} times as loud "
            "for waveforms with an RMS of 0.001, and equal for loud ones"
        )
    return tuple(notes)


def check_export_output(folder: str | Path) -> Path:
    """Return the folder if an export may be written there.

    Raises:
        InputError: the folder holds something else than an earlier export.
    """
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    try:
        earlier = EXPORT_MARK in json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        earlier = False
    if not earlier:
        raise InputError(f"{folder}: exists and is not an earlier export; choose another name")
    return folder


def _check_shape(shape: EncoderShape, dense: bool) -> None:
    """Raise an `InputError` that names everything that transformers cannot represent."""
    faults = []
    if shape.family not in _MODELS:
        faults.append(f"the family {shape.family} as an encoder alone")
    if not shape.projection:
        faults.append("convolutions without a projection")
    if shape.feature_scale:
        faults.append("a scale after the last convolution")
    if not can_be_filled(shape):
        faults.append("heads that do not add up to the width of the encoder")
    if faults:
        raise InputError(f"export: transformers does not support {', '.join(faults)}")
    if dense:
        return
    kinds = _other_linears(shape)
    if kinds:
        faults.append(f"{kinds} linears")
    every = tuple(range(shape.original_heads))
    if not all(
        tuple(head.original for head in layer.heads) == every
        and all(head.qk == head.vo == shape.head_size for head in layer.heads)
        for layer in shape.layers
    ):
        faults.append("pruned attention heads")
    if len({layer.ffn for layer in shape.layers}) > 1:
        faults.append("FFNs of different widths")
    elif shape.layers and shape.layers[0].ffn == 0:
        faults.append("FFNs without units")
    if faults:
        raise InputError(
            f"export: transformers does not support {', '.join(faults)}; --dense writes an "
            "equivalent dense encoder, as large as before compression"
        )


def _other_linears(shape: EncoderShape) -> str:
    """Return the counts of linears that are not dense, by kind: "3 low_rank, 1 sparse"."""
    kinds = Counter(getattr(layer, name).kind for layer in shape.layers for name in LINEARS)
    return ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds) if kind != "dense")


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
    """Rename the tensors as in `...ForCTC`: the encoder's get the family's name as prefix."""
    renamed = {}
    for name, tensor in tensors.items():
        own = name.startswith("head.linear.")
        head = name.replace("head.linear.", "lm_head.", 1)
        renamed[head if own else f"{family}.{name}"] = tensor
    return renamed


def _config(encoder: SpeechEncoder) -> dict[str, Any]:
    shape, head, history = dense_form(encoder.shape), encoder.head, encoder.provenance
    kind = "Model" if head is None else "ForCTC"
    assert shape.position_conv is not None  # all exportable families have one
    config: dict[str, Any] = {
        "architectures": [f"{_MODELS[shape.family]}{kind}"],
        "model_type": shape.family,
        "hidden_size": shape.hidden,
        "num_hidden_layers": len(shape.layers),
        "num_attention_heads": shape.original_heads,
        "intermediate_size": dense_ffn(shape),
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
    config[EXPORT_MARK] = {
        "base": history.base,
        "base_revision": history.base_revision,
        "random_weights": history.random_weights,
        "methods": list(history.chain()),
        "sha256": fingerprint(encoder),
        "normalize_eps": encoder.normalize_eps,
        "filled_with_zeros": added_zeros(encoder.shape),
    }
    return config


def _preprocessor(encoder: SpeechEncoder) -> dict[str, Any]:
    # Published models with a GroupNorm were trained without a mask, the others with one.
    with_mask = encoder.shape.conv_norm == "layer"
    return preprocessor_config(do_normalize=encoder.normalize, with_mask=with_mask)


class TransformersTarget(ExportTarget):
    """A folder that transformers' `from_pretrained` reads."""

    name = "transformers"
    summary = "transformers folder; dense encoders of one width, or others by --dense"

    def check_output(self, output: Path) -> None:
        """See `ExportTarget.check_output`."""
        check_export_output(check_folder_output(output))

    def write(self, encoder: SpeechEncoder, output: Path, options: ExportOptions) -> None:
        """See `ExportTarget.write`."""
        dtype = STORED_TYPES[options.dtype]
        export_transformers(encoder, output, dense=options.dense, dtype=dtype)

    def notes(self, encoder: SpeechEncoder) -> tuple[str, ...]:
        """See `ExportTarget.notes`."""
        return export_notes(encoder)

    def next_step(self, encoder: SpeechEncoder, output: Path) -> str:
        """See `ExportTarget.next_step`."""
        kind = "AutoModel" if encoder.head is None else "AutoModelForCTC"
        return f"in transformers: {kind}.from_pretrained({str(output)!r})"


TARGET = TransformersTarget()
