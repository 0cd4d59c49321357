"""Importer for torchaudio's `{"config", "state_dict"}`, including DPHuBERT's pruned models.

`config` holds the arguments of `torchaudio.models.wav2vec2_model` or `wavlm_model`. DPHuBERT
(arXiv 2305.17651) uses lists with one value per layer for the number of heads (for WavLM,
`encoder_remaining_heads` lists the original indices of the remaining heads) and of FFN units,
switches for whole attention and FFN blocks, and other convolution widths.

The format does not distinguish HuBERT from wav2vec2, whose forward passes are the same: both are
imported as `hubert`. torchaudio computes the frames of a padded batch from the convolutions for all
families, so `padding="fairseq"` does the same for these files.
"""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...common.errors import InputError
from ...common.model_errors import first_mistake
from ..head import CTCHead
from ..shape import (
    ConvShape,
    EncoderShape,
    HeadShape,
    LayerShape,
    PositionConvShape,
    RelativePositionShape,
    check_counts,
)
from .imported import ImportedCheckpoint, ctc_head
from .reading import first_line, plain_settings, tensors_only
from .registry import Importer, Source, register_importer

_log = logging.getLogger(__name__)

_DEFAULT_CONVS = [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2

# Settings that are on while DPHuBERT is still pruning a model.
_GATES = (
    "extractor_prune_conv_channels",
    "encoder_prune_attention_heads",
    "encoder_prune_attention_layer",
    "encoder_prune_feed_forward_intermediate",
    "encoder_prune_feed_forward_layer",
)


def recognise(source: Source) -> bool:
    """Say whether a file's top level is that of this format."""
    return not source.is_folder and {"config", "state_dict"} <= set(source.content)


def read(source: Source) -> ImportedCheckpoint:
    """Translate a file's content.

    Raises:
        InputError: it does not describe a model of this format, or the model still has its gates.
    """
    path, content = source.path, source.content
    config = plain_settings(content["config"], f"{path}: its config")
    if "encoder_embed_dim" not in config:
        raise InputError(
            f"{path}: its `config` does not hold the arguments of torchaudio's wav2vec2_model or "
            "wavlm_model"
        )
    gates = [name for name in _GATES if config.get(name)]
    if gates:
        raise InputError(
            f"{path}: {gates[0]} is on, so the model still contains gates; remove them first by "
            "DPHuBERT's prune.py"
        )
    tensors = tensors_only(content["state_dict"], f"{path}: its state_dict")
    try:
        shape = _shape(config)
    except KeyError as error:
        raise InputError(f"{path}: its `config` has no {error}") from error
    except (TypeError, ValueError, IndexError, ArithmeticError) as error:
        reason = first_mistake(error) if isinstance(error, ValueError) else first_line(error)
        raise InputError(f"{path}: its `config` describes no possible model: {reason}") from error
    mask = _feature_mask(tensors)
    head = _head(tensors, shape.hidden, content.get("labels"), path)
    tensors = dict(pair for name in list(tensors) for pair in _rename(name, tensors.pop(name)))
    if mask is not None:
        shape = shape.model_copy(update={"feature_scale": True})
        tensors["feature_extractor.scale"] = mask
    for index, layer in enumerate(shape.layers):
        _complete(tensors, shape, index, layer)
    return ImportedCheckpoint(
        shape=shape,
        tensors=tensors,
        normalize=config.get("normalize_waveform"),
        normalize_key="normalize_waveform",
        files=(path,),
        head=head,
    )


register_importer(
    Importer("a torchaudio or DPHuBERT file with `config` and `state_dict`", recognise, read)
)


def _shape(config: dict[str, Any]) -> EncoderShape:
    hidden, count = config["encoder_embed_dim"], config["encoder_num_layers"]
    wavlm = "encoder_num_buckets" in config
    if config["extractor_mode"] not in ("group_norm", "layer_norm"):
        raise ValueError(f"extractor_mode is {config['extractor_mode']!r}")
    total, size = _original_heads(config, hidden)
    check_counts(count, total)
    return EncoderShape(
        family="wavlm" if wavlm else "hubert",
        hidden=hidden,
        convs=tuple(
            ConvShape(width=width, kernel=kernel, stride=stride)
            for width, kernel, stride in config["extractor_conv_layer_config"] or _DEFAULT_CONVS
        ),
        conv_norm="group" if config["extractor_mode"] == "group_norm" else "layer",
        conv_bias=config["extractor_conv_bias"],
        pre_norm=config["encoder_layer_norm_first"],
        original_heads=total,
        head_size=size,
        position_conv=PositionConvShape(
            kernel=config["encoder_pos_conv_kernel"], groups=config["encoder_pos_conv_groups"]
        ),
        relative_position=(
            RelativePositionShape(
                buckets=config["encoder_num_buckets"], max_distance=config["encoder_max_distance"]
            )
            if wavlm
            else None
        ),
        padded_frames="convolutions",
        layers=tuple(_layer(config, index, size) for index in range(count)),
    )


def _original_heads(config: dict[str, Any], hidden: int) -> tuple[int, int]:
    """Return how many heads the model had before pruning, and their size."""
    if "encoder_total_num_heads" in config:
        total = max(config["encoder_total_num_heads"])
    elif "encoder_head_dim" in config:
        total = hidden // config["encoder_head_dim"]
    else:
        total = config["encoder_num_heads"]
    if hidden % total:
        raise ValueError(f"width {hidden} cannot be divided among {total} heads")
    return total, hidden // total


def _layer(config: dict[str, Any], index: int, size: int) -> LayerShape:
    if "encoder_remaining_heads" in config:
        originals = sorted(config["encoder_remaining_heads"][index])
    else:
        # DPHuBERT does not store which heads remain. Only WavLM's biases depend on it.
        heads = _of_layer(config["encoder_num_heads"], index)
        check_counts(1, max(heads, 1))
        originals = list(range(heads))
    if not _of_layer(config.get("encoder_use_attention", True), index):
        originals = []
    units = _of_layer(config["encoder_ff_interm_features"], index)
    if not _of_layer(config.get("encoder_use_feed_forward", True), index):
        units = 0
    return LayerShape(
        heads=tuple(HeadShape(original=number, qk=size, vo=size) for number in originals),
        ffn=units,
    )


def _of_layer(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, list | tuple) else value


def _feature_mask(tensors: dict[str, Tensor]) -> Tensor | None:
    """Remove DPHuBERT's soft mask of the last convolution; return None if it is all ones."""
    mask = tensors.pop("feature_extractor.dummy_weight", None)
    return None if mask is None or torch.equal(mask, torch.ones_like(mask)) else mask


def _head(tensors: dict[str, Tensor], hidden: int, labels: Any, path: Path) -> CTCHead | None:
    weight, bias = tensors.pop("aux.weight", None), tensors.pop("aux.bias", None)
    if weight is None or bias is None:
        return None
    if labels is None:
        warnings.warn(
            f"{path} has a CTC head (`aux`) without symbols, so it is not imported; to keep it, "
            "add a list `labels` to the file, with the blank first",
            stacklevel=2,
        )
        return None
    if not isinstance(labels, list | tuple) or not all(isinstance(own, str) for own in labels):
        raise InputError(f"{path}: its labels are not a list of texts")
    if len(labels) != bias.numel():
        raise InputError(f"{path}: {len(labels)} labels for a head of {bias.numel()} outputs")
    return ctc_head(weight, bias, hidden, tuple(labels), 0, f"{path}: aux")


def _rename(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """Rename one of torchaudio's tensors; WavLM's packed projections are split into three."""
    name = name.removeprefix("model.")
    name = re.sub(r"^encoder\.feature_projection\.", "feature_projection.", name)
    name = re.sub(r"^encoder\.transformer\.", "encoder.", name)
    name = re.sub(r"conv\.weight_g$", "conv.parametrizations.weight.original0", name)
    name = re.sub(r"conv\.weight_v$", "conv.parametrizations.weight.original1", name)
    name = name.replace(".attention.attention.", ".attention.")
    packed = re.fullmatch(r"(.*\.attention\.)in_proj_(weight|bias)", name)
    if packed and tensor.ndim and len(tensor) % 3 == 0:  # others are refused by their name
        return [
            (f"{packed[1]}{letter}_proj.{packed[2]}", part)
            for letter, part in zip("qkv", tensor.chunk(3), strict=True)
        ]
    return [(name, tensor)]


def _complete(
    tensors: dict[str, Tensor], shape: EncoderShape, index: int, layer: LayerShape
) -> None:
    """Reduce WavLM's gates to the remaining heads, and add empty tensors for pruned blocks."""
    attention = f"encoder.layers.{index}.attention."
    if shape.relative_position is not None:
        gates = attention + "gru_rel_pos_const"
        if gates in tensors and tensors[gates].shape[1:2] == (shape.original_heads,):
            tensors[gates] = tensors[gates][:, [head.original for head in layer.heads]]
        if index == 0 and not layer.heads:
            # DPHuBERT removes the table together with layer 0's attention, so that no layer has a
            # bias any more; a table of zeros does the same.
            tensors.setdefault(
                attention + "rel_attn_embed.weight",
                torch.zeros(shape.relative_position.buckets, shape.original_heads),
            )
        if not layer.heads:
            tensors.setdefault(gates, torch.ones(1, 0, 1, 1))
            tensors.setdefault(
                attention + "gru_rel_pos_linear.weight", torch.zeros(8, shape.head_size)
            )
            tensors.setdefault(attention + "gru_rel_pos_linear.bias", torch.zeros(8))
    feed_forward = f"encoder.layers.{index}.feed_forward."
    empty: dict[str, str] = {}
    if not layer.heads:
        empty |= {letter: f"{attention}{letter}_proj" for letter in "qkv"}
        empty["out"] = attention + "out_proj"
    if layer.ffn == 0:
        empty |= {
            "fc1": feed_forward + "intermediate_dense",
            "fc2": feed_forward + "output_dense",
        }
    for linear, name in empty.items():
        outputs, inputs = layer.sizes(linear, shape.hidden)
        tensors.setdefault(name + ".weight", torch.zeros(outputs, inputs))
        tensors.setdefault(name + ".bias", torch.zeros(outputs))
