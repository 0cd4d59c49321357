"""The shape of a Whisper model: all sizes, by layer and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..encoder.shape import (
    LINEARS,
    MAX_FFN,
    MAX_HEADS,
    MAX_HIDDEN,
    MAX_LAYERS,
    LayerShape,
    check_layer,
    dense_layer,
)

Part = Literal["encoder", "decoder", "both"]
"""The part of a model that a method may change. Cross-attention belongs to the decoder."""

PARTS: tuple[Part, ...] = get_args(Part)

_FFN = {"fc1": "fc1", "fc2": "fc2"}
_ATTENTION = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}


class WhisperShape(BaseModel):
    """All sizes of a Whisper model; it is part of a checkpoint's `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    hidden: int = Field(ge=1, le=MAX_HIDDEN)
    """Width of the residual streams of encoder and decoder."""
    encoder_heads: int = Field(ge=1, le=MAX_HEADS)
    """Original number of heads in the encoder. It sets the scale of attention,
    (hidden / heads) ** -0.5, whatever is removed."""
    decoder_heads: int = Field(ge=1, le=MAX_HEADS)
    """The same for self- and cross-attention in the decoder."""
    mel_bins: int = Field(ge=1, le=4096)
    audio_positions: int = Field(ge=1, le=65_536)
    """Length of the encoder's table of positions, in frames of 20 ms."""
    text_positions: int = Field(ge=1, le=65_536)
    """Length of the decoder's table of positions, in tokens."""
    vocabulary: int = Field(ge=1, le=4_000_000)
    encoder: tuple[LayerShape, ...] = Field(min_length=1, max_length=MAX_LAYERS)
    decoder: tuple[LayerShape, ...] = Field(min_length=1, max_length=MAX_LAYERS)
    """Self-attention and FFN of each decoder layer."""
    cross_attention: tuple[LayerShape, ...] = Field(min_length=1, max_length=MAX_LAYERS)
    """Cross-attention of each decoder layer; its number of FFN units is 0. Queries come from the
    decoder's states, keys and values from the encoder's."""

    @model_validator(mode="after")
    def _consistent(self) -> WhisperShape:
        if len(self.decoder) != len(self.cross_attention):
            raise ValueError(
                f"{len(self.decoder)} decoder layers, but {len(self.cross_attention)} "
                "cross-attentions"
            )
        for heads in (self.encoder_heads, self.decoder_heads):
            if self.hidden % heads:
                raise ValueError(f"hidden {self.hidden} cannot be divided among {heads} heads")
        for number, layer in enumerate(self.layers):
            try:
                self._check(number, layer)
            except ValueError as error:
                raise ValueError(f"{self.describe_layer(number)}: {error}") from error
        return self

    def _check(self, number: int, layer: LayerShape) -> None:
        heads = self.encoder_heads if number < len(self.encoder) else self.decoder_heads
        check_layer(layer, number, self.hidden, self.hidden // heads)
        originals = [head.original for head in layer.heads]
        if originals != sorted(set(originals)) or any(own >= heads for own in originals):
            raise ValueError(f"original head numbers must increase and be below {heads}")
        if not any(max(head.qk, head.vo) for head in layer.heads):
            raise ValueError("an attention needs at least one head with at least one dimension")
        if number >= len(self.encoder) + len(self.decoder) and layer.ffn:
            raise ValueError("a cross-attention has no FFN units")
        kinds = {getattr(layer, name).kind for name in LINEARS}
        if not kinds <= {"dense", "low_rank"}:
            raise ValueError("linears must be dense or low_rank")

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """The encoder's layers, the decoder's, and the cross-attentions, in this order."""
        return self.encoder + self.decoder + self.cross_attention

    def linear_name(self, layer: int, name: str) -> str:
        """Return transformers' full module name of one of the six linears of a layer."""
        stack, own, attention = self._place(layer)
        module = _FFN.get(name) or f"{attention}.{_ATTENTION[name]}"
        return f"model.{stack}.layers.{own}.{module}"

    def attention_name(self, layer: int) -> str:
        """Return transformers' full module name of a layer's attention."""
        stack, own, attention = self._place(layer)
        return f"model.{stack}.layers.{own}.{attention}"

    def describe_layer(self, layer: int) -> str:
        """Return the name of a layer for messages, such as "decoder layer 3"."""
        stack, own, attention = self._place(layer)
        kind = "cross-attention" if attention == "encoder_attn" else "layer"
        return f"{stack} {kind} {own}"

    def part_layers(self, part: Part) -> list[int]:
        """Return the numbers of the layers that belong to a part."""
        numbers = range(len(self.layers))
        if part == "both":
            return list(numbers)
        return [n for n in numbers if (n < len(self.encoder)) == (part == "encoder")]

    def with_layers(self, layers: Sequence[LayerShape]) -> WhisperShape:
        """Return this shape with other sizes in the same number of layers."""
        first, second = len(self.encoder), len(self.encoder) + len(self.decoder)
        return self.with_stacks(layers[:first], layers[first:second], layers[second:])

    def with_stacks(
        self,
        encoder: Sequence[LayerShape],
        decoder: Sequence[LayerShape],
        cross_attention: Sequence[LayerShape],
    ) -> WhisperShape:
        """Return this shape with other layers."""
        stacks = {"encoder": encoder, "decoder": decoder, "cross_attention": cross_attention}
        changed = self.model_copy(update={name: tuple(own) for name, own in stacks.items()})
        return WhisperShape.model_validate(changed.model_dump())

    def _place(self, layer: int) -> tuple[str, int, str]:
        """Return the stack that holds a layer, its number there, and its attention's name."""
        if layer < len(self.encoder):
            return "encoder", layer, "self_attn"
        layer -= len(self.encoder)
        if layer < len(self.decoder):
            return "decoder", layer, "self_attn"
        return "decoder", layer - len(self.decoder), "encoder_attn"


def dense_shape(
    *,
    hidden: int,
    mel_bins: int,
    vocabulary: int,
    audio_positions: int,
    text_positions: int,
    encoder_heads: int,
    decoder_heads: int,
    encoder_layers: int,
    decoder_layers: int,
    encoder_ffn: int,
    decoder_ffn: int,
) -> WhisperShape:
    """Return the shape of an uncompressed model.

    Raises:
        ValueError: no such model is possible.
    """
    bounds = {
        "hidden": (hidden, MAX_HIDDEN),
        "encoder_heads": (encoder_heads, MAX_HEADS),
        "decoder_heads": (decoder_heads, MAX_HEADS),
        "encoder_layers": (encoder_layers, MAX_LAYERS),
        "decoder_layers": (decoder_layers, MAX_LAYERS),
        "encoder_ffn": (encoder_ffn, MAX_FFN),
        "decoder_ffn": (decoder_ffn, MAX_FFN),
    }
    for name, (value, most) in bounds.items():  # before anything is built from them
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise ValueError(f"{name} is {value!r}, not a whole number from 1 to {most}")
    decoder_head = hidden // decoder_heads
    return WhisperShape(
        hidden=hidden,
        encoder_heads=encoder_heads,
        decoder_heads=decoder_heads,
        mel_bins=mel_bins,
        audio_positions=audio_positions,
        text_positions=text_positions,
        vocabulary=vocabulary,
        encoder=(dense_layer(encoder_heads, hidden // encoder_heads, encoder_ffn),)
        * encoder_layers,
        decoder=(dense_layer(decoder_heads, decoder_head, decoder_ffn),) * decoder_layers,
        cross_attention=(dense_layer(decoder_heads, decoder_head, 0),) * decoder_layers,
    )
