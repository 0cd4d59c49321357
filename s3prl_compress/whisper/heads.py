"""Heads of unequal sizes inside transformers' attention modules."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..encoder.layers import HeadLayout


class PaddedHeads(HeadLayout):
    """Pads the heads of a linear to one size, by hooks on the linear.

    transformers' attention cuts q, k and v into heads of one size. The hooks pad them with zeros,
    which changes no product, and take the padding out again before `out`. So only the linears'
    own weights are stored, and the attention's code need not change.
    """

    def pad_outputs_of(self, linear: nn.Module) -> None:
        """Pad what `linear` returns, [batch, frames, rows], to [batch, frames, heads x size]."""
        linear.register_forward_hook(self._pad)

    def unpad_inputs_of(self, linear: nn.Module) -> None:
        """Give `linear` only the rows that are not padding."""
        linear.register_forward_pre_hook(self._unpad)

    # Bound methods, because a deep copy of the model also copies what they are bound to.
    def _pad(self, linear: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return self.split(output).transpose(1, 2).flatten(2)

    def _unpad(self, linear: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        (x,) = inputs
        return (self.merge(x.unflatten(-1, (self.heads, self.size)).transpose(1, 2)),)
