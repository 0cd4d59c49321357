"""Conversion of tensors between memory and disk: types of weights and indices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ..common.errors import InputError

StoredType = Literal["float32", "float16"]

STORED_TYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float16": torch.float16}
"""torch's types by the names of those in which weights can be stored."""

STORED_SIZES: dict[StoredType, int] = {"float32": 4, "float16": 2}
"""Bytes of a weight that is stored in a type."""

_SAFETENSORS_NAMES: dict[StoredType, str] = {"float32": "F32", "float16": "F16"}


def stored_type(dtype: torch.dtype) -> StoredType:
    """Return the name of a type in which weights can be stored.

    Raises:
        InputError: weights cannot be stored in this type.
    """
    if dtype == torch.float32:
        return "float32"
    if dtype == torch.float16:
        return "float16"
    raise InputError(f"dtype {dtype}: weights are stored as torch.float32 or torch.float16")


def stored_tensors(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of `state` on the CPU, in the types in which they are stored.

    Weights are converted to `dtype`, and assignments to the smallest integers that hold them.
    float16 keeps 11 bits of each weight, and rounds weights below 3e-8 to zero.

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
    """Compare the type of a floating-point tensor in a safetensors file with config.json.

    Raises:
        InputError: they differ.
    """
    if given.startswith(("F", "BF")) and given != _SAFETENSORS_NAMES[expected]:
        raise InputError(
            f"{where}: tensor {name} is stored as {given}, but config.json says {expected}"
        )


def _as_type(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    converted = tensor.to(dtype)
    lost = tensor.isfinite() & ~converted.isfinite()
    if lost.any():
        largest = float(tensor[lost].abs().max())
        raise InputError(
            f"tensor {name} holds {largest:g}, above the maximum of float16 "
            f"({torch.finfo(dtype).max:g}); store this encoder as float32"
        )
    return converted
