"""Weights that are derived from stored ones, kept while nothing changes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class WeightCache:
    """Remembers one derived tensor for inference.

    With gradients enabled nothing is kept: the derived tensor must be part of every graph.
    """

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._value: Tensor | None = None

    def get(self, derive: Callable[[], Tensor], *sources: Tensor) -> Tensor:
        """Return `derive()`, from memory if no source has changed since."""
        if torch.is_grad_enabled() or any(source.is_meta for source in sources):
            return derive()
        # An in-place change raises the version, a replaced or moved tensor has another address.
        key = tuple(
            (source.data_ptr(), source.device, source.dtype, _version(source)) for source in sources
        )
        if self._value is None or key != self._key:
            self._key, self._value = key, derive()
        return self._value

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightCache:
        return WeightCache()


def _version(tensor: Tensor) -> int:
    # Tensors made under inference mode have no version counter and cannot change.
    return -1 if tensor.is_inference() else tensor._version
