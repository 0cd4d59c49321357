"""From learned gates to the units that stay, so that a budget of parameters is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from ..encoder.cost import nonzero_parameters
from ..encoder.model import SpeechEncoder
from ..encoder.shape import EncoderShape
from .budget import Counts, RemovalOrder, find_sparsity
from .channels import PruningSchedule
from .cutting import parameters_after
from .gate_layout import GateKind, gate_sizes, selection_of_gates
from .gates import POSITIVE_SHIFT
from .masked import MaskedEncoder

COARSE: tuple[GateKind, ...] = ("attention", "ffn_block", "head")
FINE: tuple[GateKind, ...] = ("qk", "vo", "ffn", "conv")

_REACH = 20.0  # beyond it a gate's probability of being open, 0 or 1, no longer matters

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
    """Return which units stay, a bool per gate on the CPU, so that the budget is met.

    Straight-through gates: those of largest log_alpha stay, by one threshold for all kinds. Gates
    that are not rounded: as in DPHuBERT's code, each module (the heads of a layer, an FFN, a
    convolution) keeps as many units as its gates expect, those of largest log_alpha; one shift
    of all log_alpha in these expectations, which is ours, meets the budget. In both cases heads
    and blocks are decided first. Since each is a large part of the whole, fine units are then
    removed further until the target is met. A convolution keeps at least one channel.

    Args:
        masked: the encoder with the learned gates.
        encoder: the one that it was made of.
        method: for the error messages.
        sparsity: fraction of the encoder's parameters to remove.
        rounding: of the sizes; for straight-through gates only.

    Raises:
        InputError: the target cannot be met.
    """
    total, shape = nonzero_parameters(encoder), encoder.shape
    learned: Gates = {kind: masked.log_alpha(kind).cpu() for kind in masked.kept()}
    whole: Gates = {kind: torch.ones_like(own, dtype=torch.bool) for kind, own in learned.items()}

    def stored(kept: Gates) -> int:
        return parameters_after(encoder, selection_of_gates(shape, kept))

    everything = _Removals(shape, whole, learned, (*COARSE, *FINE), rounding, masked.soft)
    low, high = 0, len(everything.order)
    while low < high:  # the most steps that do not overshoot
        middle = (low + high + 1) // 2
        kept = everything.after(everything.order.counts(middle))
        low, high = (low, middle - 1) if stored(kept) < total * (1 - sparsity) else (middle, high)
    reached = everything.after(everything.order.counts(low))
    settled = {kind: reached[kind] if kind in COARSE else own for kind, own in whole.items()}

    fine = _Removals(shape, settled, learned, FINE, rounding, masked.soft)
    counts = find_sparsity(
        method, sparsity, total, fine.order, lambda counts: stored(fine.after(counts))
    )
    return fine.after(counts)


class _Removals:
    """The order in which units of some kinds are removed, and what is left after some steps.

    Args:
        kept: coarse units that are removed already take their fine units out of the order.
        learned: log_alpha of all gates.
        kinds: which kinds are removed.
        rounding: of the sizes.
        by_count: a module's next unit is due where a shift of all log_alpha makes the module
            expect that many closed; else where log_alpha falls below a threshold.
    """

    def __init__(
        self,
        shape: EncoderShape,
        kept: Gates,
        learned: Gates,
        kinds: Sequence[GateKind],
        rounding: Rounding,
        by_count: bool,
    ) -> None:
        self.kept = kept
        self.members: list[tuple[GateKind, Tensor]] = []
        """Kind and gates of every FFN, head, convolution or set of heads, weakest first."""
        bundles: dict[tuple[GateKind, int, int, int | None], list[int]] = {}
        heads = _open_heads(shape, kept)
        for kind in kinds:
            if kind not in kept:
                continue
            start = 0
            for owner, (layer, size) in enumerate(_owners(shape, kind, by_count)):
                inside = kind in ("qk", "vo")
                if not inside or heads[owner]:
                    alone = None if inside and rounding.equal_heads else owner
                    weakest = torch.argsort(learned[kind][start : start + size], stable=True)
                    bundles.setdefault((kind, layer, size, alone), []).append(len(self.members))
                    self.members.append((kind, start + weakest))
                start += size
        self.queues: list[PruningSchedule] = []
        keys = []
        for (kind, _, size, _), positions in bundles.items():
            gone = _losses(size, rounding.step(kind), least=1 if kind == "conv" else 0)
            if len(gone):
                ranked = torch.stack([learned[kind][self.members[place][1]] for place in positions])
                self.queues.append(PruningSchedule(tuple(positions), gone))
                due = _count_shifts(ranked) if by_count else ranked.double().mean(0).numpy()
                keys.append(due[gone - 1])
        self.order = RemovalOrder(keys)

    def after(self, counts: Counts) -> dict[GateKind, Tensor]:
        """Return what is kept after so many steps of each queue."""
        left = {kind: own.clone() for kind, own in self.kept.items()}
        for queue, steps in zip(self.queues, counts.tolist(), strict=True):
            for position in queue.positions:
                kind, ranked = self.members[position]
                left[kind][ranked[: queue.lost(steps)]] = False
        return left


def _owners(shape: EncoderShape, kind: GateKind, by_count: bool) -> list[tuple[int, int]]:
    """Return layer and number of gates of all that lose gates of a kind, in the gates' order.

    Each coarse gate is its own owner, unless they are counted: then the layer owns its heads.
    """
    if kind in COARSE and not by_count:
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


def _count_shifts(log_alpha: Tensor) -> NDArray[np.float64]:
    """Return how far all log_alpha must fall before 1, 2, ... gates are expected to be closed.

    log_alpha [modules, gates], the modules taken together; n - round(sum P(z > 0)) gates of each
    are expected to be closed. Negative where they are already. The shifts are interpolated
    between points of which 0 is one: what is closed without any shift is exact.
    """
    own = log_alpha.double().numpy() + POSITIVE_SHIFT
    if not own.size:
        return np.zeros(own.shape[1])
    low, high = -own.max() - _REACH, -own.min() + _REACH
    shifts = np.unique(np.append(np.linspace(low, high, 2000), 0.0))
    opened = np.array([expit(own + shift).sum(1).mean() for shift in shifts])
    needed = own.shape[1] - np.arange(1, own.shape[1] + 1) + 0.5
    return -np.interp(needed, opened, shifts)


def _losses(size: int, multiple: int, least: int) -> NDArray[np.int64]:
    """Return how many units are gone after 1, 2, ... steps; at least `least` always stay."""
    left = range(size - 1, least - 1, -1)
    return np.array([size - count for count in left if count % multiple == 0], dtype=np.int64)
