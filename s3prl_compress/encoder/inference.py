"""Copies of encoders that rebuild sparse weights once instead of in every forward pass."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from .linear import SparseLinear, dense_weight, new_dense_linear
from .model import SpeechEncoder
from .shape import DENSE, LINEARS, EncoderShape

Module = TypeVar("Module", bound=nn.Module)


def inference_copy(encoder: Module) -> Module:
    """Return a copy of `encoder` with dense linears in the place of sparse ones.

    It computes the same, takes the memory of a dense encoder, and does not follow later changes of
    `encoder`. Encoders without sparse linears, and modules other than `SpeechEncoder`, are returned
    unchanged.
    """
    if not isinstance(encoder, SpeechEncoder) or not any(
        isinstance(module, SparseLinear) for module in encoder.modules()
    ):
        return encoder
    result = copy.deepcopy(encoder)
    for parent in list(result.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SparseLinear):
                setattr(parent, name, _dense(child))
    result.shape = _without_sparse(result.shape)
    return result


@torch.no_grad()
def _dense(linear: SparseLinear) -> nn.Linear:
    with torch.device("meta"):
        dense = new_dense_linear(linear.in_features, linear.out_features, linear.bias is not None)
    dense.weight = nn.Parameter(dense_weight(linear), linear.values.requires_grad)
    if linear.bias is not None:
        dense.bias = nn.Parameter(linear.bias, linear.bias.requires_grad)
    return dense.train(linear.training)


def _without_sparse(shape: EncoderShape) -> EncoderShape:
    layers = tuple(
        layer.model_copy(
            update={name: DENSE for name in LINEARS if getattr(layer, name).kind == "sparse"}
        )
        for layer in shape.layers
    )
    return shape.model_copy(update={"layers": layers})
