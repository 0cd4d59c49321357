"""Copies of encoders for inference: dense weights, in the layout that is fastest on the machine."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from ..common.linear_kernels import note_linear_kernels
from .linear import SparseLinear, dense_weight, new_dense_linear
from .model import SpeechEncoder
from .packed import Linears, pack, packing_pays
from .shape import DENSE, LINEARS, EncoderShape

Module = TypeVar("Module", bound=nn.Module)


def inference_copy(
    encoder: Module, device: str | torch.device = "cpu", linears: Linears | None = None
) -> Module:
    """Return a copy of `encoder` that computes the same, faster, and without gradients.

    Sparse linears become dense ones. On a CPU, the Transformer's float32 linears are packed for
    oneDNN where that is faster (`packed.packing_pays`), which changes results by rounding. The copy
    shares all other weights with `encoder`. It cannot be trained, saved or moved to another device.
    Modules other than `SpeechEncoder` are returned unchanged, as are encoders that need no copy.

    Args:
        encoder: the encoder, in the data type that it is to compute in.
        device: where the copy will compute.
        linears: the library for float32 linears on a CPU, instead of the faster one; see
            `choose_linears`.
    """
    if not isinstance(encoder, SpeechEncoder):
        return encoder
    if linears is None:
        linears = choose_linears(encoder, device)
    else:
        note_linear_kernels(linears)
    packed = linears == "onednn"
    if not (packed or _sparse(encoder)):
        return encoder
    shared = {id(tensor): tensor for tensor in (*encoder.parameters(), *encoder.buffers())}
    result = _replaced(copy.deepcopy(encoder, shared))
    if packed:
        for parent in list(result.encoder.modules()):
            for name, child in list(parent.named_children()):
                if (own := pack(child)) is not None:
                    setattr(parent, name, own)
    return result  # type: ignore[return-value]  # Module is SpeechEncoder here


def choose_linears(encoder: nn.Module, device: str | torch.device) -> Linears | None:
    """Return the library that `inference_copy` takes for linears; None where there is no choice.

    It is measured in each process (`packed.packing_pays`), so two processes may choose differently.
    """
    if not isinstance(encoder, SpeechEncoder) or encoder.dtype != torch.float32:
        return None
    if not torch.device(device).type == encoder.device.type == "cpu":
        return None
    return "onednn" if packing_pays() else "torch"


def dense_copy(encoder: SpeechEncoder) -> SpeechEncoder:
    """Return a copy of `encoder` with dense linears in the place of sparse ones.

    It can be used as any encoder. One without sparse linears is returned unchanged.
    """
    return _replaced(copy.deepcopy(encoder)) if _sparse(encoder) else encoder


def _sparse(encoder: SpeechEncoder) -> bool:
    return any(isinstance(module, SparseLinear) for module in encoder.modules())


def _replaced(encoder: SpeechEncoder) -> SpeechEncoder:
    """Replace sparse linears by dense ones in place, and return the encoder."""
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SparseLinear):
                setattr(parent, name, _dense(child))
    encoder.shape = _without_sparse(encoder.shape)
    return encoder


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
