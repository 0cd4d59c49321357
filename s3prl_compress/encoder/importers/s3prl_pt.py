"""Importer for s3prl's `.pt` files: converted HuBERT and wav2vec2, and Microsoft's WavLM.

It translates fairseq's parameter names to Hugging Face's.
"""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ...common.errors import InputError
from ...common.model_errors import first_mistake
from ..shape import (
    ConvShape,
    EncoderShape,
    Family,
    PositionConvShape,
    RelativePositionShape,
    dense_layer,
)
from .imported import ImportedCheckpoint, checked_head_size
from .reading import fairseq_refused, plain_settings, tensors_only
from .registry import Importer, Source, register_importer

_log = logging.getLogger(__name__)

# fairseq's defaults for missing fields (the same for all three families).
_DEFAULTS: dict[str, Any] = {
    "extractor_mode": "default",
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "layer_norm_first": False,
    "conv_feature_layers": "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
    "conv_bias": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
}

# Fields that change the forward pass, with the only value that this package supports.
_SUPPORTED: dict[str, Any] = {
    "activation_fn": "gelu",
    "layer_type": "transformer",
    "pos_conv_depth": 1,
    "crop_seq_to_multiple": 1,
    "quantize_input": False,
    "conv_pos_batch_norm": False,
}
_SUPPORTED_WAVLM: dict[str, Any] = {"relative_position_embedding": True, "gru_rel_pos": True}

_DROPPED_HEADS = ("final_proj", "label_embs_concat", "quantizer", "project_q", "target_glu")

# Patterns of fairseq's names and their replacements, in the order in which they are applied.
_NAMES = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"^mask_emb$", "masked_spec_embed"),
        (r"^post_extract_proj\.", "feature_projection.projection."),
        (r"^layer_norm\.", "feature_projection.layer_norm."),
        (r"^(feature_extractor\.conv_layers\.\d+)\.0\.", r"\1.conv."),
        (r"^(feature_extractor\.conv_layers\.\d+)\.2\.(?:1\.)?", r"\1.layer_norm."),
        (
            r"^encoder\.pos_conv\.0\.weight_g$",
            "encoder.pos_conv.0.parametrizations.weight.original0",
        ),
        (
            r"^encoder\.pos_conv\.0\.weight_v$",
            "encoder.pos_conv.0.parametrizations.weight.original1",
        ),
        (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
        (r"^(encoder\.layers\.\d+)\.self_attn_layer_norm\.", r"\1.layer_norm."),
        (
            r"^(encoder\.layers\.\d+)\.self_attn\.relative_attention_bias\.",
            r"\1.attention.rel_attn_embed.",
        ),
        (r"^(encoder\.layers\.\d+)\.self_attn\.grep_linear\.", r"\1.attention.gru_rel_pos_linear."),
        (r"^(encoder\.layers\.\d+)\.self_attn\.grep_a$", r"\1.attention.gru_rel_pos_const"),
        (r"^(encoder\.layers\.\d+)\.self_attn\.", r"\1.attention."),
        (r"^(encoder\.layers\.\d+)\.fc1\.", r"\1.feed_forward.intermediate_dense."),
        (r"^(encoder\.layers\.\d+)\.fc2\.", r"\1.feed_forward.output_dense."),
    )
)


def recognise(source: Source) -> bool:
    """Say whether a file's top level is that of an s3prl-converted or fairseq file."""
    layouts = ({"model_cfg", "model_weight"}, {"cfg", "model"}, {"args", "model"})
    return not source.is_folder and any(layout <= set(source.content) for layout in layouts)


def read(source: Source) -> ImportedCheckpoint:
    """Translate a file's content.

    Raises:
        InputError: it is an original fairseq file, or its model is not supported.
    """
    path, content = source.path, source.content
    if "model_weight" in content:
        config = plain_settings(content["model_cfg"], f"{path}: its model_cfg")
        weights = content["model_weight"]
        family: Family = "hubert" if _is_hubert(content) else "wav2vec2"
        task = content.get("task_cfg")
        task = {} if task is None else plain_settings(task, f"{path}: its task_cfg")
        normalize = task.get("normalize")
    elif _is_fairseq(content):
        raise fairseq_refused(path, "has the layout of fairseq's own checkpoints")
    else:
        config = plain_settings(content["cfg"], f"{path}: its cfg")
        family, weights = "wavlm", content["model"]
        normalize = config.get("normalize")
    tensors, dropped = {}, []
    for name, tensor in tensors_only(weights, f"{path}: its weights").items():
        if name.split(".")[0] in _DROPPED_HEADS:
            dropped.append(name)
        else:
            tensors[our_name(name)] = tensor
    if dropped:
        _log.debug("heads not imported: %s", ", ".join(dropped))
    return ImportedCheckpoint(
        shape=_shape(family, config, tensors, path),
        tensors=tensors,
        normalize=normalize,
        files=(path,),
    )


register_importer(Importer("an s3prl-converted .pt", recognise, read))


def our_name(name: str) -> str:
    """Translate the name of a parameter from fairseq to Hugging Face."""
    for old, new in _NAMES:
        name = old.sub(new, name)
    return name


def _is_hubert(content: dict[str, Any]) -> bool:
    # Only HuBERT's converter stores the dictionaries, and only HuBERT has a label rate.
    return "dictionaries_symbols" in content or "label_rate" in content["model_cfg"]


def _is_fairseq(content: dict[str, Any]) -> bool:
    config = content.get("cfg")
    return (
        not {"args", "task_state", "optimizer_history", "extra_state"}.isdisjoint(content)
        or not isinstance(config, dict)
        or isinstance(config.get("model"), dict)
    )


def _shape(
    family: Family, config: dict[str, Any], tensors: dict[str, Tensor], path: Path
) -> EncoderShape:
    supported = _SUPPORTED | (_SUPPORTED_WAVLM if family == "wavlm" else {})
    for field, value in supported.items():
        # WavLM's two switches are off if its configuration does not mention them.
        given = config.get(field, False if field in _SUPPORTED_WAVLM else value)
        if given != value:
            raise InputError(
                f"{path}: {field} is {given!r}, which is not supported (only {value!r})"
            )
    value = {name: config.get(name, default) for name, default in _DEFAULTS.items()}
    if value["extractor_mode"] not in ("default", "layer_norm"):
        raise InputError(
            f"{path}: extractor_mode is {value['extractor_mode']!r}; known are 'default', "
            "'layer_norm'"
        )
    hidden, heads = value["encoder_embed_dim"], value["encoder_attention_heads"]
    head_size = checked_head_size(hidden, heads, value["encoder_layers"], str(path))
    convs = parse_convs(value["conv_feature_layers"], str(path))
    try:
        return EncoderShape(
            family=family,
            hidden=hidden,
            convs=convs,
            conv_norm="group" if value["extractor_mode"] == "default" else "layer",
            conv_bias=value["conv_bias"],
            # fairseq has none if both sides have the same width.
            projection="feature_projection.projection.weight" in tensors
            or convs[-1].width != hidden,
            pre_norm=value["layer_norm_first"],
            original_heads=heads,
            head_size=head_size,
            position_conv=PositionConvShape(
                kernel=value["conv_pos"], groups=value["conv_pos_groups"]
            ),
            relative_position=(
                RelativePositionShape(
                    buckets=config.get("num_buckets", 320),
                    max_distance=config.get("max_distance", 1280),
                )
                if family == "wavlm"
                else None
            ),
            layers=(dense_layer(heads, head_size, value["encoder_ffn_embed_dim"]),)
            * value["encoder_layers"],
        )
    except ValueError as error:
        raise InputError(f"{path} describes no possible model: {first_mistake(error)}") from error


def parse_convs(text: str, where: str) -> tuple[ConvShape, ...]:
    """Parse fairseq's notation of convolutions, `[(512, 10, 5)] + [(512, 3, 2)] * 4`.

    fairseq and s3prl evaluate it as Python code. This function accepts only lists, sums and
    repetitions.

    Raises:
        InputError: the text is something else.
    """
    try:
        if len(text) > 10_000:
            raise ValueError("longer than any list of convolutions")
        layers = _evaluate(ast.parse(text, mode="eval").body)
        return tuple(
            ConvShape(width=width, kernel=kernel, stride=stride) for width, kernel, stride in layers
        )
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        shown = repr(text)[:200]
        raise InputError(f"{where}: conv_feature_layers {shown} cannot be read") from error


def _evaluate(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _evaluate(node.left) + _evaluate(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _evaluate(node.left), _evaluate(node.right)
        count = right if isinstance(right, int) else left
        repeated = left if count is right else right
        # Repetitions can be nested, so the product is what must be bounded.
        if not isinstance(count, int) or count > 1000 or len(repeated) * count > 1000:
            raise ValueError("not a repetition")
        return left * right
    return ast.literal_eval(node)
