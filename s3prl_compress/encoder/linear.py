"""The four kinds of linear layers: dense, low-rank, shared and sparse."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .shape import LinearShape

# torch's own class and not a subclass: tools such as dynamic quantisation match exact types.
DenseLinear = nn.Linear


class EmptyLinear(nn.Linear):
    """A dense linear with no inputs or no outputs, for which torch's initialisation would warn."""

    def reset_parameters(self) -> None:
        """Set the bias, the only parameter that can have elements, to zero."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def new_dense_linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """Return a dense linear with torch's initial weights; either size may be 0."""
    kind = nn.Linear if in_features and out_features else EmptyLinear
    return kind(in_features, out_features, bias)


class LowRankLinear(nn.Module):
    """`y = U (V x) + b` with V `factor_in` [r, in] and U `factor_out` [out, r]."""

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool = True) -> None:
        super().__init__()
        self.factor_in = nn.Parameter(torch.zeros(rank, in_features))
        self.factor_out = nn.Parameter(torch.zeros(out_features, rank))
        if bias:
            self.bias = nn.Parameter(torch.zeros(out_features))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        return F.linear(F.linear(x, self.factor_in), self.factor_out, self.bias)

    def dense_weight(self) -> Tensor:
        """Return the equivalent dense weight [out, in]."""
        return self.factor_out @ self.factor_in


class SharedLinear(nn.Module):
    """`y = (C x + c)[a]`: K centroid rows C with biases c, and a centroid index a per output."""

    assignment: Tensor

    def __init__(
        self, in_features: int, out_features: int, centroids: int, bias: bool = True
    ) -> None:
        super().__init__()
        self.centroids = nn.Parameter(torch.zeros(centroids, in_features))
        if bias:
            self.centroid_bias = nn.Parameter(torch.zeros(centroids))
        else:
            self.register_parameter("centroid_bias", None)
        self.register_buffer("assignment", torch.zeros(out_features, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        return F.linear(x, self.centroids, self.centroid_bias).index_select(-1, self.assignment)

    def dense_weight(self) -> Tensor:
        """Return the equivalent dense weight [out, in]."""
        return self.centroids[self.assignment]


class SparseLinear(nn.Module):
    """A linear that stores its non-zero weights and a bit mask, and computes with a dense weight.

    It makes the file smaller, but not the forward pass faster. Every pass rebuilds the dense
    weight, because a cached one could become stale unnoticed: `.data`, `functional_call` and
    replicas all change parameters without a trace. `inference_copy` rebuilds it only once.
    """

    bitmask: Tensor

    def __init__(
        self, in_features: int, out_features: int, nonzeros: int, bias: bool = True
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.values = nn.Parameter(torch.zeros(nonzeros))
        packed = (in_features * out_features + 7) // 8
        self.register_buffer("bitmask", torch.zeros(packed, dtype=torch.uint8))
        if bias:
            self.bias = nn.Parameter(torch.zeros(out_features))
        else:
            self.register_parameter("bias", None)

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None) -> SparseLinear:
        """Store the non-zeros of `weight` [out, in] in row-major order."""
        mask = weight != 0
        linear = cls(weight.shape[1], weight.shape[0], int(mask.sum()), bias is not None)
        linear.values = nn.Parameter(weight.detach()[mask].clone())
        linear.bitmask = pack_bits(mask.flatten())
        if bias is not None:
            linear.bias = nn.Parameter(bias.detach().clone())
        return linear

    def dense_weight(self) -> Tensor:
        """Return the weight [out, in], zeros included."""
        mask = unpack_bits(self.bitmask, self.in_features * self.out_features)
        flat = torch.zeros(len(mask), dtype=self.values.dtype, device=self.values.device)
        return flat.masked_scatter(mask, self.values).view(self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        return F.linear(x, self.dense_weight(), self.bias)


Linear = DenseLinear | LowRankLinear | SharedLinear | SparseLinear


def build_linear(
    shape: LinearShape, out_features: int, in_features: int, bias: bool = True
) -> Linear:
    """Build the linear that `shape` describes, with initial weights."""
    if shape.kind == "low_rank":
        assert shape.rank is not None
        return LowRankLinear(in_features, out_features, shape.rank, bias)
    if shape.kind == "shared":
        assert shape.centroids is not None
        return SharedLinear(in_features, out_features, shape.centroids, bias)
    if shape.kind == "sparse":
        assert shape.nonzeros is not None
        return SparseLinear(in_features, out_features, shape.nonzeros, bias)
    return new_dense_linear(in_features, out_features, bias)


def linear_shape(linear: Linear) -> LinearShape:
    """Return the shape of an existing linear; the inverse of `build_linear`."""
    if isinstance(linear, LowRankLinear):
        return LinearShape(kind="low_rank", rank=linear.factor_in.shape[0])
    if isinstance(linear, SharedLinear):
        return LinearShape(kind="shared", centroids=linear.centroids.shape[0])
    if isinstance(linear, SparseLinear):
        return LinearShape(kind="sparse", nonzeros=linear.values.shape[0])
    return LinearShape()


def dense_weight(linear: Linear) -> Tensor:
    """Return the equivalent dense weight [out, in] of a linear of any kind."""
    return linear.weight if isinstance(linear, DenseLinear) else linear.dense_weight()


def dense_bias(linear: Linear) -> Tensor:
    """Return the bias [out] of a linear of any kind that has one."""
    bias = optional_bias(linear)
    assert bias is not None
    return bias


def optional_bias(linear: Linear) -> Tensor | None:
    """Return the bias [out] of a linear of any kind, or None (as of Whisper's k)."""
    if isinstance(linear, SharedLinear):
        bias = linear.centroid_bias
        return None if bias is None else bias[linear.assignment]
    return linear.bias


_BIT_VALUES = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8)


def pack_bits(mask: Tensor) -> Tensor:
    """Pack a boolean vector into bytes, lowest bit first; the last byte is zero-padded."""
    bits = F.pad(mask.to(torch.uint8), (0, -len(mask) % 8)).view(-1, 8)
    return (bits * _BIT_VALUES.to(mask.device)).sum(dim=1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, length: int) -> Tensor:
    """Return the boolean vector [length] that `pack_bits` packed."""
    bits = packed.unsqueeze(1).bitwise_and(_BIT_VALUES.to(packed.device))
    return bits.ne(0).flatten()[:length]
