"""Transformer layers whose heads and FFNs may have any sizes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activation import gelu
from .cpu_training import attend
from .linear import build_linear
from .shape import EncoderShape

BIAS_ELEMENTS = 1 << 22
"""Largest block of WavLM's gated bias, in elements over batch, heads, queries and keys."""

POSITION_TABLE = "attention.rel_attn_embed.weight"
"""Name of WavLM's position table within layer 0, which all layers share."""


class Attention(nn.Module):
    """Self-attention over the remaining heads, with WavLM's gated relative positions if wanted."""

    def __init__(self, shape: EncoderShape, index: int) -> None:
        super().__init__()
        layer = shape.layers[index]
        self.heads = layer.heads
        # Pruning does not change the scale: the remaining weights were trained with this one.
        self.scale = shape.head_size**-0.5
        self.q_proj = build_linear(layer.q, *layer.sizes("q", shape.hidden))
        self.k_proj = build_linear(layer.k, *layer.sizes("k", shape.hidden), bias=shape.key_bias)
        self.v_proj = build_linear(layer.v, *layer.sizes("v", shape.hidden))
        self.out_proj = build_linear(layer.out, *layer.sizes("out", shape.hidden))
        # Fused attention needs one size for q, k and v of all heads; padding with zeros changes no
        # product.
        self.size = max((max(head.qk, head.vo) for head in layer.heads), default=0)
        self.qk_layout = HeadLayout([head.qk for head in layer.heads], self.size)
        self.vo_layout = HeadLayout([head.vo for head in layer.heads], self.size)
        self.relative = shape.relative_position is not None
        if self.relative:
            self.original_heads, self.head_size = shape.original_heads, shape.head_size
            self.gru_rel_pos_const = nn.Parameter(torch.ones(1, len(self.heads), 1, 1))
            self.gru_rel_pos_linear = nn.Linear(shape.head_size, 8)
            if index == 0:  # all layers share layer 0's table, even if it has no heads left
                assert shape.relative_position is not None
                self.rel_attn_embed = nn.Embedding(
                    shape.relative_position.buckets, shape.original_heads
                )

    @property
    def position_table(self) -> Tensor:
        """WavLM's table of biases [buckets, original heads], which only layer 0 has."""
        return self.rel_attn_embed.weight

    def forward(self, x: Tensor, mask: Tensor | None, position_bias: Tensor | None) -> Tensor:
        """Attend within [batch, frames, hidden].

        Args:
            x: hidden states [batch, frames, hidden].
            mask: True where a frame may be attended to, [batch, 1, 1, frames]; None: everywhere.
            position_bias: WavLM's bias by distance, [original heads, 2 frames - 1].
        """
        if self.vo_layout.total == 0:
            return self.out_proj(x[..., :0])
        query = self.qk_layout.split(self.q_proj(x))
        key = self.qk_layout.split(self.k_proj(x))
        value = self.vo_layout.split(self.v_proj(x))
        if position_bias is None:
            attended = attend(query, key, value, mask, self.scale, self.training)
        else:
            attended = self._attend_with_bias(x, query, key, value, mask, position_bias)
        return self.out_proj(self.vo_layout.merge(attended))

    def _attend_with_bias(
        self,
        x: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        position_bias: Tensor,
    ) -> Tensor:
        """Attend in blocks of queries, to bound the memory of the biases."""
        gate = self._gate(x)
        batch, heads, frames, _ = query.shape
        # With the keys reversed, the biases of each query are a slice of `position_bias`, which
        # starts one element later for each query. So they are a view; in any other order they
        # would have to be copied.
        key, value = key.flip(2), value.flip(2)
        mask = None if mask is None else mask.flip(-1)
        originals = [head.original for head in self.heads]
        bias = position_bias[originals].flip(-1).unfold(-1, frames, 1)  # [heads, frames, frames]
        size = frames
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            size = max(1, BIAS_ELEMENTS // (batch * heads * frames))
        parts = []
        for start in range(0, frames, size):
            part = slice(start, start + size)
            block = gate[:, :, part] * bias[:, part]
            if mask is not None:
                block = block.masked_fill(~mask, float("-inf"))
            parts.append(
                F.scaled_dot_product_attention(
                    query[:, :, part], key, value, attn_mask=block, scale=self.scale
                )
            )
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def _gate(self, x: Tensor) -> Tensor:
        """Return the gates of the position bias, [batch, heads, frames, 1].

        See section 3.1 of arXiv 2110.13900.
        """
        originals = [head.original for head in self.heads]
        batch, frames, _ = x.shape
        per_head = x.view(batch, frames, self.original_heads, self.head_size)[:, :, originals]
        gates = self.gru_rel_pos_linear(per_head.transpose(1, 2))
        gates = torch.sigmoid(gates.view(batch, len(originals), frames, 2, 4).sum(-1))
        update, reset = gates.split(1, dim=-1)  # [batch, heads, frames, 1] each
        return update * (reset * self.gru_rel_pos_const - 1.0) + 2.0


class DerivedBuffers(nn.Module, ABC):
    """Base of modules with buffers that follow from the shape, and so are not stored.

    A checkpoint is loaded into modules without storage; `build` is called again afterwards.
    """

    @abstractmethod
    def build(self) -> None:
        """Make the buffers."""


class HeadLayout(DerivedBuffers):
    """Cuts the concatenated rows of all heads into [batch, heads, frames, size] and back.

    Heads smaller than `size` are padded with zeros.
    """

    index: Tensor
    inverse: Tensor

    def __init__(self, sizes: list[int], size: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.heads, self.size, self.total = len(sizes), size, sum(sizes)
        self.first = sizes[0] if sizes else 0
        self.uniform = len(set(sizes)) <= 1
        self.build()

    def build(self) -> None:
        """Make the index buffers."""
        if self.uniform:
            return
        # Index `total` selects the column of zeros that `split` appends.
        starts = [sum(self.sizes[:number]) for number in range(self.heads)]
        index = [
            start + offset if offset < own else self.total
            for start, own in zip(starts, self.sizes, strict=True)
            for offset in range(self.size)
        ]
        inverse = [position for position, row in enumerate(index) if row < self.total]
        self.register_buffer("index", torch.tensor(index), persistent=False)
        self.register_buffer("inverse", torch.tensor(inverse), persistent=False)

    def split(self, x: Tensor) -> Tensor:
        """Cut [batch, frames, rows] into [batch, heads, frames, size]."""
        batch, frames, _ = x.shape
        if self.uniform:
            x = x.view(batch, frames, self.heads, self.first)
            if self.first < self.size:
                x = F.pad(x, (0, self.size - self.first))
        else:
            x = F.pad(x, (0, 1)).index_select(-1, self.index)
            x = x.view(batch, frames, self.heads, self.size)
        return x.transpose(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        """Concatenate [batch, heads, frames, size] to [batch, frames, rows]."""
        x = x.transpose(1, 2)
        if self.uniform:
            return x[..., : self.first].reshape(*x.shape[:2], self.total)
        return x.flatten(2).index_select(-1, self.inverse)


class FeedForward(nn.Module):
    """The feed-forward network: fc1, GELU, fc2."""

    def __init__(self, shape: EncoderShape, index: int) -> None:
        super().__init__()
        layer = shape.layers[index]
        self.intermediate_dense = build_linear(layer.fc1, *layer.sizes("fc1", shape.hidden))
        self.output_dense = build_linear(layer.fc2, *layer.sizes("fc2", shape.hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, frames, hidden] to [batch, frames, hidden]."""
        return self.output_dense(gelu(self.intermediate_dense(x)))


class TransformerLayer(nn.Module):
    """Attention and FFN, each with a residual and a LayerNorm before (`pre_norm`) or after it."""

    def __init__(self, shape: EncoderShape, index: int) -> None:
        super().__init__()
        self.pre_norm = shape.pre_norm
        self.attention = Attention(shape, index)
        self.layer_norm = nn.LayerNorm(shape.hidden, eps=shape.layer_norm_eps)
        self.feed_forward = FeedForward(shape, index)
        self.final_layer_norm = nn.LayerNorm(shape.hidden, eps=shape.layer_norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None, position_bias: Tensor | None) -> Tensor:
        """Map [batch, frames, hidden] to [batch, frames, hidden]."""
        if self.pre_norm:
            x = x + self.attention(self.layer_norm(x), mask, position_bias)
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.attention(x, mask, position_bias))
        return self.final_layer_norm(x + self.feed_forward(x))


def relative_position_bias(table: Tensor, frames: int, max_distance: int) -> Tensor:
    """Return WavLM's position bias for every distance, [heads, 2 frames - 1].

    The bias of a query and a key is at index `frames - 1 + key - query`. Distances share buckets
    as in T5 (Raffel et al., 2020): half of the buckets serve each direction, a quarter of all are
    for one distance each, and the others grow logarithmically up to `max_distance`.

    Args:
        table: [buckets, heads].
        frames: of the utterance.
        max_distance: in frames; all larger distances share the last bucket.
    """
    relative = torch.arange(1 - frames, frames, device=table.device)
    half = table.shape[0] // 2
    exact = half // 2
    distance = relative.abs()
    logarithmic = torch.log(distance.float() / exact) / math.log(max_distance / exact)
    # Distance 0 gives -inf here, but `where` selects the exact bucket for it.
    far = (exact + logarithmic * (half - exact)).clamp(min=0, max=half - 1).long()
    bucket = torch.where(distance < exact, distance, far) + (relative > 0).long() * half
    return table[bucket].t()
