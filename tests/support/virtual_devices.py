"""Devices that exist by name only, to find tensors of two GPUs in one operation without any GPU.

Everything is computed on the CPU. A device such as `torch.device("cpu", 2)` stands for a GPU: every
storage has one, results inherit theirs, and operations on two of them raise as CUDA's would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

HOST = torch.device("cpu")

_COPIES = {"copy_", "__set__", "_has_compatible_shallow_copy_type"}
"""Operations between devices of any kind."""
_TAKES_FROM_HOST = {"__getitem__", "__setitem__", "ctc_loss"}
"""Operations that also take indices, values or lengths on the host."""


class VirtualDevices(TorchFunctionMode):
    """While it is active, tensors are where `.to(device)` and `device=` have put them."""

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[int, torch.device] = {}
        self._alive: list[Any] = []  # so that no address is used twice

    def place(self, tensor: Tensor, device: torch.device) -> None:
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        self._places[storage._cdata] = device

    def where(self, tensor: Tensor) -> torch.device:
        if tensor.device != HOST:
            return tensor.device
        return self._places.get(tensor.untyped_storage()._cdata, HOST)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return self.where(args[0])
        if name in ("to", "cpu"):
            return self._moved(func, args, kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        found = self._common(name, inputs)
        if name in ("numpy", "__array__") and found != HOST:
            raise RuntimeError(f"{name} of a tensor on {found}")
        asked = kwargs.get("device")
        if asked is not None and torch.device(asked).type == "cpu":
            found, kwargs["device"] = torch.device(asked), HOST
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in self._places:
                self.place(leaf, found)
        return result

    def _moved(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Tensor:
        target = HOST if func is Tensor.cpu else None
        real: list[Any] = [args[0]]
        for given in args[1:]:
            if isinstance(given, (torch.device, str)) and torch.device(given).type == "cpu":
                target, given = torch.device(given), HOST
            real.append(given)
        if kwargs.get("device") is not None:
            target, kwargs["device"] = torch.device(kwargs["device"]), HOST
        before = self.where(args[0])
        moved: Tensor = func(*real, **kwargs)
        place = before if target is None else target
        if place != before and moved.untyped_storage()._cdata in self._places:
            moved = moved.clone()
        if moved.device == HOST and self.where(moved) != place:
            self.place(moved, place)
        return moved

    def _common(self, name: str, inputs: Iterable[Tensor]) -> torch.device:
        places = {self.where(own) for own in inputs if own.dim() or self.where(own) != HOST}
        if name in _TAKES_FROM_HOST and len(places) > 1:
            places.discard(HOST)
        if len(places) > 1 and name not in _COPIES:
            raise RuntimeError(f"{name} of tensors on {' and '.join(map(str, places))}")
        return places.pop() if places else HOST
