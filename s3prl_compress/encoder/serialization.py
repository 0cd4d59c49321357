"""Tensors as they stand on disk: in the smallest type that was asked for and that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ..common.errors import InputError

StoredType = Literal["float32", "float16"]

_SAFETENSORS_NAMES: dict[StoredType, str] = {"float32": "F32", "float16": "F16"}


def stored_type(dtype: torch.dtype) -> StoredType:
    """Return the name of a floating-point type that weights can be stored in.

    Raises:
        InputError: it is another one.
    """
    if dtype == torch.float32:
        return "float32"
    if dtype == torch.float16:
        return "float16"
    raise InputError(f"dtype {dtype}: weights are stored as torch.float32 or torch.float16")


def stored_tensors(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of `state` on the CPU as they are stored.

    Weights become `dtype`, assignments the smallest integers that hold them. float16 keeps 11
    bits of each weight, and what is below 3e-8 becomes zero.

    Raises:
        InputError: a weight is too large for `dtype`.
    """
    stored = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        if tensor.dtype == torch.long:
            tensor = tensor.to(torch.uint8 if len(tensor) <= 256 else torch.int32)
        elif tensor.dtype.is_floating_point:
            tensor = _as_type(name, tensor, dtype)
        stored[name] = tensor.contiguous().clone()
    return stored


def check_stored_type(name: str, given: str, expected: StoredType, where: str) -> None:
    """Compare a floating-point tensor's type in a safetensors file with what the folder says.

    Raises:
        InputError: they differ.
    """
    if given.startswith(("F", "BF")) and given != _SAFETENSORS_NAMES[expected]:
        raise InputError(
            f"{where}: tensor {name} is stored as {given}, config.json says {expected}"
        )


def _as_type(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    converted = tensor.to(dtype)
    lost = tensor.isfinite() & ~converted.isfinite()
    if lost.any():
        largest = float(tensor[lost].abs().max())
        raise InputError(
            f"tensor {name} holds {largest:g}, more than float16 can ({torch.finfo(dtype).max:g}); "
            "store this encoder as float32"
        )
    return converted
