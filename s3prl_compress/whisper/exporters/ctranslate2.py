"""Export for CTranslate2, with which faster-whisper and other programs run Whisper models.

CTranslate2 has one number of heads for all layers of a stack, and one size for all heads of an
attention. Smaller ones are filled up with zeros, which changes no result: a head of zeros adds
nothing, since its values and its part of the output projection are zero. The queries' scale is
stored, because it stays that of the original head size.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...common.errors import InputError
from ...encoder.linear import (
    Linear,
    LowRankLinear,
    dense_bias,
    dense_weight,
    optional_bias,
)
from ...encoder.shape import LayerShape
from ..model import Whisper
from ..tokenizer import load_tokenizer
from .target import Array, Run, WhisperTarget

if TYPE_CHECKING:
    from ctranslate2.specs.attention_spec import MultiHeadAttentionSpec


class CTranslate2Target(WhisperTarget):
    """A folder with `model.bin`; computed in its number format where the machine can."""

    name = "ctranslate2"
    summary = "folder for CTranslate2 and faster-whisper: whole Whisper models of any shape"
    dtypes = ("float32", "float16", "bfloat16", "int8")
    extra = "ctranslate2"
    packages = ("ctranslate2",)

    def convert(self, whisper: Whisper, folder: Path, dtype: str, dense: bool, name: str) -> Run:
        """See `WhisperTarget.convert`."""
        import ctranslate2

        spec = _specification(whisper, dense, name)
        spec.register_vocabulary(_tokens(whisper, name))
        spec.validate()
        spec.optimize(quantization=dtype)
        spec.save(str(folder))
        level = ctranslate2.get_log_level()
        ctranslate2.set_log_level(logging.ERROR)  # it would say in which format it computes here
        try:
            runtime = ctranslate2.models.Whisper(str(folder), device="cpu")
        finally:
            ctranslate2.set_log_level(level)

        def run(features: Array, prompt: Sequence[int]) -> tuple[Array, Array]:
            encoded = runtime.encode(ctranslate2.StorageView.from_array(features), to_cpu=True)
            written = runtime.generate(
                encoded,
                [[*prompt]],
                beam_size=1,
                max_length=len(prompt) + 1,
                suppress_blank=False,
                suppress_tokens=[],
                return_logits_vocab=True,
            )
            return np.array(encoded), np.array(written[0].logits[0][0])

        return run

    def notes(self, whisper: Whisper) -> tuple[str, ...]:
        """See `WhisperTarget.notes`."""
        share = padded_share(whisper)
        if not share:
            return ()
        return (
            f"{share:.1%} of the attention weights are zeros: CTranslate2 has heads of one size, "
            "and as many in all layers",
        )

    def next_step(self, output: Path) -> str:
        """See `WhisperTarget.next_step`."""
        return f"next: faster_whisper.WhisperModel({str(output)!r}, device='cpu')"


TARGET: WhisperTarget = CTranslate2Target()


def padded_share(whisper: Whisper) -> float:
    """Return the zeros that fill up heads, as a fraction of the attention weights written."""
    own = written = 0
    for stack in _stacks(whisper):
        heads = max(len(layer.heads) for layer in stack)
        for layer in stack:
            own += sum(head.qk + head.vo for head in layer.heads)
            written += 2 * heads * _size(layer)
    return 1 - own / written


def _stacks(whisper: Whisper) -> tuple[Sequence[LayerShape], Sequence[LayerShape]]:
    """Return the attentions that share a number of heads: the encoder's, and the decoder's."""
    shape = whisper.shape
    return shape.encoder, (*shape.decoder, *shape.cross_attention)


def _specification(whisper: Whisper, dense: bool, name: str) -> Any:
    """Return CTranslate2's description of the model, with its weights."""
    from ctranslate2.specs import WhisperSpec

    settings, shape = whisper.settings(), whisper.shape
    if settings.get("activation_function", "gelu") != "gelu" or settings.get("scale_embedding"):
        raise InputError(
            f"{name}: CTranslate2 has Whisper with activation_function gelu and without "
            "scale_embedding only"
        )
    low_rank = [own for own in whisper.model.modules() if isinstance(own, LowRankLinear)]
    if low_rank and not dense:
        raise InputError(
            f"{name}: CTranslate2 has no low-rank linears, and this model has {len(low_rank)}; "
            "give --dense to write them as dense ones"
        )
    heads = [max(len(layer.heads) for layer in stack) for stack in _stacks(whisper)]
    spec: Any = WhisperSpec(len(shape.encoder), heads[0], len(shape.decoder), heads[1])
    model = cast(Any, whisper.model.model)
    for own, module in ((spec.encoder, model.encoder), (spec.decoder, model.decoder)):
        own.position_encodings.encodings = _array(module.embed_positions.weight)
        _norm(own.layer_norm, module.layer_norm)
    for number in (1, 2):
        own, module = (getattr(part, f"conv{number}") for part in (spec.encoder, model.encoder))
        own.weight, own.bias = _array(module.weight), _array(module.bias)
    spec.decoder.embeddings.weight = _array(model.decoder.embed_tokens.weight)
    spec.decoder.projection.weight = _array(whisper.model.proj_out.weight)
    scale = (shape.hidden // shape.encoder_heads) ** -0.5
    for own, module, layer in zip(
        spec.encoder.layer, model.encoder.layers, shape.encoder, strict=True
    ):
        own.self_attention = _attention(
            module.self_attn, module.self_attn_layer_norm, layer, heads[0], scale
        )
        _feed_forward(own, module)
    scale = (shape.hidden // shape.decoder_heads) ** -0.5
    for own, module, layer, cross in zip(
        spec.decoder.layer, model.decoder.layers, shape.decoder, shape.cross_attention, strict=True
    ):
        own.self_attention = _attention(
            module.self_attn, module.self_attn_layer_norm, layer, heads[1], scale
        )
        own.attention = _attention(
            module.encoder_attn, module.encoder_attn_layer_norm, cross, heads[1], scale, across=True
        )
        _feed_forward(own, module)
    _configure(spec.config, whisper, heads[1])
    return spec


def _size(layer: LayerShape) -> int:
    return max(max(head.qk, head.vo) for head in layer.heads)


def _attention(
    module: Any,
    norm: nn.LayerNorm,
    layer: LayerShape,
    heads: int,
    scale: float,
    across: bool = False,
) -> MultiHeadAttentionSpec:
    """Describe an attention: q, k and v in one linear within a stack; k and v in one across."""
    from ctranslate2.specs.attention_spec import MultiHeadAttentionSpec

    size = _size(layer)
    # Without `head_dim`, CTranslate2 divides the width of the states by the number of heads.
    spec = MultiHeadAttentionSpec(self_attention=not across, head_dim=size)
    _norm(spec.layer_norm, norm)
    qk = _places([head.qk for head in layer.heads], size)
    vo = _places([head.vo for head in layer.heads], size)
    rows = [
        _filled(linear, places, heads * size)
        for linear, places in ((module.q_proj, qk), (module.k_proj, qk), (module.v_proj, vo))
    ]
    groups = [rows[:1], rows[1:]] if across else [rows]
    for own, group in zip(spec.linear, groups, strict=False):
        own.weight = _array(torch.cat([weight for weight, _ in group]))
        own.bias = _array(torch.cat([bias for _, bias in group]))
    out = dense_weight(module.out_proj)
    columns = out.new_zeros(len(out), heads * size)
    columns[:, vo] = out
    spec.linear[-1].weight = _array(columns)
    spec.linear[-1].bias = _array(dense_bias(module.out_proj))
    spec.queries_scale = np.float32(scale)
    return spec


def _places(sizes: Sequence[int], size: int) -> Tensor:
    """Return where the dimensions of all heads are among heads of `size` dimensions."""
    starts = (torch.arange(own) + number * size for number, own in enumerate(sizes))
    return torch.cat([*starts])


def _filled(linear: Linear, places: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a linear with its rows in their places, and zeros elsewhere."""
    weight, bias = dense_weight(linear), optional_bias(linear)
    filled = weight.new_zeros(rows, weight.shape[1]), weight.new_zeros(rows)
    filled[0][places] = weight
    if bias is not None:  # k has none
        filled[1][places] = bias
    return filled


def _feed_forward(spec: Any, module: Any) -> None:
    for own, linear in ((spec.ffn.linear_0, module.fc1), (spec.ffn.linear_1, module.fc2)):
        own.weight, own.bias = _array(dense_weight(linear)), _array(dense_bias(linear))
    _norm(spec.ffn.layer_norm, module.final_layer_norm)


def _norm(spec: Any, module: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(module.weight), _array(module.bias)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return a copy: CTranslate2 quantises in place."""
    return np.array(tensor.detach().float().cpu(), order="C")


def _configure(config: Any, whisper: Whisper, heads: int) -> None:
    """Fill in what is not a weight: the suppressed tokens, languages, heads of time stamps."""
    generation: Any = whisper.model.generation_config
    config.suppress_ids = generation.suppress_tokens or []
    config.suppress_ids_begin = generation.begin_suppress_tokens or []
    config.lang_ids = sorted((getattr(generation, "lang_to_id", None) or {}).values())
    # By default, those of the upper half of the layers, as in CTranslate2's own converter.
    layers = len(whisper.shape.decoder)
    config.alignment_heads = getattr(generation, "alignment_heads", None) or [
        [layer, head] for layer in range(layers // 2, layers) for head in range(heads)
    ]


def _tokens(whisper: Whisper, name: str) -> list[str]:
    """Return the name of every token; those without one are the time stamps."""
    known = load_tokenizer(whisper, None, name).get_vocab()
    tokens = {number: token for token, number in known.items()}
    first = max(tokens) + 1
    return [
        tokens.get(number, f"<|{(number - first) * 0.02:.2f}|>")
        for number in range(whisper.shape.vocabulary)
    ]
