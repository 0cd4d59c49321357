"""From learned gates to the units that stay, so that a budget of parameters is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..encoder.cost import nonzero_parameters
from ..encoder.model import SpeechEncoder
from ..encoder.shape import EncoderShape
from .budget import Counts, RemovalOrder, meet_target
from .channels import Queue
from .gate_layout import GateKind, gate_sizes, selection_of_gates
from .masked import MaskedEncoder
from .surgery import stored_after

COARSE: tuple[GateKind, ...] = ("attention", "ffn_block", "head")
FINE: tuple[GateKind, ...] = ("qk", "vo", "ffn", "conv")

Gates = Mapping[GateKind, Tensor]
"""One vector per kind of gate, on the CPU."""


@dataclass(frozen=True)
class Rounding:
    """Sizes that units come in."""

    multiple: int = 1
    """FFN units and convolution channels come in multiples of this."""
    head_multiple: int = 1
    """The same for the dimensions inside heads."""
    equal_heads: bool = False
    """The heads of a layer lose equally many dimensions."""

    def step(self, kind: GateKind) -> int:
        """Return what the number of units of one owner is a multiple of."""
        if kind in COARSE:
            return 1
        return self.head_multiple if kind in ("qk", "vo") else self.multiple


def choose_units(
    masked: MaskedEncoder,
    encoder: SpeechEncoder,
    method: str,
    sparsity: float,
    rounding: Rounding = Rounding(),  # frozen
) -> dict[GateKind, Tensor]:
    """Return which units stay, a bool per gate: those of largest log_alpha.

    One threshold for all gates says which heads and blocks go. Since each of them is a large
    part of the whole, it is lowered for the fine units until the target is met.

    Args:
        masked: whose gates were learned.
        encoder: that it was made of.
        method: for the error messages.
        sparsity: fraction of the encoder's parameters that shall go.
        rounding: of the sizes.

    Raises:
        InputError: the target cannot be met.
    """
    total, shape = nonzero_parameters(encoder), encoder.shape
    strength: Gates = {kind: masked.strength(kind).cpu() for kind in masked.kept()}
    whole: Gates = {kind: torch.ones_like(own, dtype=torch.bool) for kind, own in strength.items()}

    def stored(kept: Gates) -> int:
        return stored_after(encoder, selection_of_gates(shape, kept))

    everything = _Removals(shape, whole, strength, (*COARSE, *FINE), rounding)
    low, high = 0, len(everything.order)
    while low < high:  # the most steps that do not overshoot
        middle = (low + high + 1) // 2
        kept = everything.after(everything.order.counts(middle))
        low, high = (low, middle - 1) if stored(kept) < total * (1 - sparsity) else (middle, high)
    reached = everything.after(everything.order.counts(low))
    settled = {kind: reached[kind] if kind in COARSE else own for kind, own in whole.items()}

    fine = _Removals(shape, settled, strength, FINE, rounding)
    counts = meet_target(
        method, sparsity, total, fine.order, lambda counts: stored(fine.after(counts))
    )
    return {kind: own.to(encoder.device) for kind, own in fine.after(counts).items()}


class _Removals:
    """The order in which units of some kinds go, weakest first, and what is left after a while."""

    def __init__(
        self,
        shape: EncoderShape,
        kept: Gates,
        strength: Gates,
        kinds: Sequence[GateKind],
        rounding: Rounding,
    ) -> None:
        self.kept = kept
        self.members: list[tuple[GateKind, Tensor]] = []
        """Kind and gates of every FFN, head or convolution, weakest first."""
        bundles: dict[tuple[GateKind, int, int, int | None], list[int]] = {}
        heads = _open_heads(shape, kept)
        for kind in kinds:
            if kind not in kept:
                continue
            start = 0
            for owner, (layer, size) in enumerate(_owners(shape, kind)):
                inside = kind in ("qk", "vo")
                if not inside or heads[owner]:
                    alone = None if inside and rounding.equal_heads else owner
                    weakest = torch.argsort(strength[kind][start : start + size], stable=True)
                    bundles.setdefault((kind, layer, size, alone), []).append(len(self.members))
                    self.members.append((kind, start + weakest))
                start += size
        self.queues: list[Queue] = []
        keys = []
        for (kind, _, size, _), positions in bundles.items():
            gone = _losses(size, rounding.step(kind), least=1 if kind == "conv" else 0)
            if len(gone):
                ranked = torch.stack(
                    [strength[kind][self.members[place][1]] for place in positions]
                )
                self.queues.append(Queue(tuple(positions), gone))
                keys.append(ranked.double().mean(0).numpy()[gone - 1])
        self.order = RemovalOrder(keys)

    def after(self, counts: Counts) -> dict[GateKind, Tensor]:
        """Return what is kept after so many steps of each queue."""
        left = {kind: own.clone() for kind, own in self.kept.items()}
        for queue, steps in zip(self.queues, counts.tolist(), strict=True):
            for position in queue.positions:
                kind, ranked = self.members[position]
                left[kind][ranked[: queue.lost(steps)]] = False
        return left


def _owners(shape: EncoderShape, kind: GateKind) -> list[tuple[int, int]]:
    """Return layer and number of gates of all that lose gates of a kind, in the gates' order."""
    if kind in COARSE:
        sizes = gate_sizes(shape)[kind]
        return [(layer, 1) for layer, size in enumerate(sizes) for _ in range(size)]
    if kind in ("qk", "vo"):
        return [
            (number, getattr(head, kind))
            for number, layer in enumerate(shape.layers)
            for head in layer.heads
        ]
    return list(enumerate(gate_sizes(shape)[kind]))


def _open_heads(shape: EncoderShape, kept: Gates) -> list[bool]:
    sizes = gate_sizes(shape)["head"]
    heads = kept["head"].tolist() if "head" in kept else [True] * sum(sizes)
    if "attention" in kept:
        blocks = np.repeat(kept["attention"].numpy(), sizes).tolist()
        heads = [head and block for head, block in zip(heads, blocks, strict=True)]
    return heads


def _losses(size: int, multiple: int, least: int) -> NDArray[np.int64]:
    """Return how many units are gone after 1, 2, ... steps; at least `least` always stay."""
    left = range(size - 1, least - 1, -1)
    return np.array([size - count for count in left if count % multiple == 0], dtype=np.int64)
