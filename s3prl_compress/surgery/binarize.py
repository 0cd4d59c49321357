"""Turn learned gates into a choice of units that meets a parameter budget."""

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
from .channels import PruningSchedule, removal_steps
from .cutting import parameters_after
from .gate_layout import GateKind, gate_sizes, selection_of_gates
from .gates import POSITIVE_SHIFT
from .masked import MaskedEncoder

COARSE: tuple[GateKind, ...] = ("attention", "ffn_block", "head")
FINE: tuple[GateKind, ...] = ("qk", "vo", "ffn", "conv")

_REACH = 20.0
"""Log-odds beyond which a gate's probability of being open is 0 or 1 for all purposes."""

Gates = Mapping[GateKind, Tensor]
"""One vector per kind of gate, on the CPU."""


@dataclass(frozen=True)
class Rounding:
    """Constraints on the number of units that are kept."""

    multiple: int = 1
    """Numbers of FFN units and of convolution channels are multiples of this."""
    head_multiple: int = 1
    """Numbers of dimensions inside heads are multiples of this."""
    equal_heads: bool = False
    """Remove equally many dimensions from all heads of a layer."""

    def step(self, kind: GateKind) -> int:
        """Return the number of which the kept units of a module must be a multiple."""
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
    """Return the units to keep, one bool per gate on the CPU, so that the budget is met.

    Straight-through gates: the units of largest log_alpha are kept, with one threshold for all
    kinds. Gates that are not rounded: as in DPHuBERT's code, each module (the heads of a layer,
    an FFN, a convolution) keeps as many units as its gates expect, those of largest log_alpha.
    Adding one constant to all log_alpha in these expectations, which is ours, meets the budget.

    In both cases heads and blocks are chosen first. Each of them is a large part of the encoder,
    so they alone would miss the target; FFN units, channels and dimensions inside heads are then
    removed until it is met. A convolution keeps at least one channel.

    Args:
        masked: the encoder with the learned gates.
        encoder: the encoder that `masked` was made from.
        method: name of the method, for error messages.
        sparsity: fraction of the encoder's parameters to remove.
        rounding: constraints on sizes, for straight-through gates only.

    Raises:
        InputError: the target cannot be met.
    """
    total, shape = nonzero_parameters(encoder), encoder.shape
    learned: Gates = {kind: masked.log_alpha(kind).cpu() for kind in masked.kept()}
    whole: Gates = {kind: torch.ones_like(own, dtype=torch.bool) for kind, own in learned.items()}

    def stored(kept: Gates) -> int:
        return parameters_after(encoder, selection_of_gates(shape, kept))

    # Remove units of all kinds in the order of their gates, as far as that does not overshoot: a
    # bisection for the largest number of steps that leaves at least the target.
    everything = _Removals(shape, whole, learned, (*COARSE, *FINE), rounding, masked.soft)
    low, high = 0, len(everything.order)
    while low < high:
        middle = (low + high + 1) // 2
        kept = everything.after(everything.order.counts(middle))
        if stored(kept) < total * (1 - sparsity):
            high = middle - 1
        else:
            low = middle
    reached = everything.after(everything.order.counts(low))
    # Of that, only the choice of heads and blocks is final.
    coarse = {kind: reached[kind] if kind in COARSE else own for kind, own in whole.items()}

    # Start again with all fine units of what remains, and remove them until the target is met.
    fine = _Removals(shape, coarse, learned, FINE, rounding, masked.soft)
    counts = find_sparsity(
        method, sparsity, total, fine.order, lambda counts: stored(fine.after(counts))
    )
    return fine.after(counts)


class _Removals:
    """The order in which units are removed, and the units that remain after some steps.

    Args:
        shape: shape of the encoder.
        kept: units that are still there. Dimensions of heads that are not are left out.
        learned: log_alpha of all gates.
        kinds: kinds of units that can be removed.
        rounding: constraints on sizes.
        by_count: how steps are ordered. True: by the constant that must be subtracted from all
            log_alpha before a module expects to lose that many units. False: by log_alpha.
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
        self.modules: list[tuple[GateKind, Tensor]] = []
        """Kind of units, and numbers of its gates from the weakest to the strongest, of every
        module: an FFN, a head, a convolution, or the heads of a layer."""
        # Modules that lose units in the same steps, by what they must have in common.
        together: dict[tuple[GateKind, int, int, int | None], list[int]] = {}
        heads = _open_heads(shape, kept)
        for kind in (kind for kind in kinds if kind in kept):
            start = 0
            for number, (layer, size) in enumerate(_modules(shape, kind, by_count)):
                in_head = kind in ("qk", "vo")
                # A head that is removed takes its dimensions with it.
                if not in_head or heads[number]:
                    gates = learned[kind][start : start + size]
                    weakest_first = start + torch.argsort(gates, stable=True)
                    # Equal heads: all heads of a layer that have one size share their steps.
                    alone = None if in_head and rounding.equal_heads else number
                    together.setdefault((kind, layer, size, alone), []).append(len(self.modules))
                    self.modules.append((kind, weakest_first))
                start += size
        self.schedules: list[PruningSchedule] = []
        keys = []
        for (kind, _, size, _), positions in together.items():
            least = 1 if kind == "conv" else 0
            removed = removal_steps(size, rounding.step(kind), least)
            if not len(removed):
                continue
            self.schedules.append(PruningSchedule(tuple(positions), removed))
            # log_alpha of the modules' gates, weakest first, [modules, gates].
            ranked = torch.stack([learned[kind][self.modules[place][1]] for place in positions])
            key = _count_shifts(ranked) if by_count else ranked.double().mean(0).numpy()
            # A step that removes several units is due when the last of them is.
            keys.append(key[removed - 1])
        self.order = RemovalOrder(keys)

    def after(self, counts: Counts) -> dict[GateKind, Tensor]:
        """Return the units that remain after the given number of steps of each schedule."""
        remaining = {kind: own.clone() for kind, own in self.kept.items()}
        for schedule, steps in zip(self.schedules, counts.tolist(), strict=True):
            for position in schedule.positions:
                kind, weakest_first = self.modules[position]
                remaining[kind][weakest_first[: schedule.removed_after(steps)]] = False
        return remaining


def _modules(shape: EncoderShape, kind: GateKind, by_count: bool) -> list[tuple[int, int]]:
    """Return the layer and the number of gates of each module, in the order of the gates.

    Each head or block is a module of its own, except where units are counted: then all heads of a
    layer are one module, which keeps as many as it expects.
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
    """Return which heads of all layers remain, given the choice of heads and attention blocks."""
    sizes = gate_sizes(shape)["head"]
    heads = kept["head"].tolist() if "head" in kept else [True] * sum(sizes)
    if "attention" in kept:
        blocks = np.repeat(kept["attention"].numpy(), sizes).tolist()
        heads = [head and block for head, block in zip(heads, blocks, strict=True)]
    return heads


def _count_shifts(log_alpha: Tensor) -> NDArray[np.float64]:
    """Return the constant to subtract from all log_alpha so that 1, 2, ... gates are closed.

    A module of n gates is expected to close n - round(sum P(z > 0)) of them. The constants are
    negative for gates that are closed without any. They are interpolated on a grid that contains
    0, so that the number of gates closed without any shift is exact.

    Args:
        log_alpha: gates of modules that close the same number of gates, [modules, gates].
    """
    own = log_alpha.double().numpy() + POSITIVE_SHIFT
    if not own.size:
        return np.zeros(own.shape[1])
    low, high = -own.max() - _REACH, -own.min() + _REACH
    shifts = np.unique(np.append(np.linspace(low, high, 2000), 0.0))
    opened = np.array([expit(own + shift).sum(1).mean() for shift in shifts])
    needed = own.shape[1] - np.arange(1, own.shape[1] + 1) + 0.5
    return -np.interp(needed, opened, shifts)
