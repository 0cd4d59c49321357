"""From learned gates to the units that stay, so that a budget of parameters is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..encoder.cost import nonzero_parameters
from ..encoder.model import SpeechEncoder
from .budget import Counts, RemovalOrder, meet_target
from .channels import Queue
from .gate_layout import GateKind, gate_sizes, selection_of_gates
from .masked import MaskedEncoder
from .surgery import stored_after

COARSE: tuple[GateKind, ...] = ("attention", "ffn_block", "head")
FINE: tuple[GateKind, ...] = ("qk", "vo", "ffn", "conv")


def choose_units(
    masked: MaskedEncoder,
    encoder: SpeechEncoder,
    method: str,
    sparsity: float,
    *,
    multiple: int = 1,
    head_multiple: int = 1,
    equal_heads: bool = False,
) -> dict[GateKind, Tensor]:
    """Return which units stay, a bool per gate: those of largest log_alpha.

    Heads and blocks go where their own gate is closed, unless the target would be overshot: then
    the strongest of these stay. The rest of the budget is met with the fine units; one
    threshold holds for all of them.

    Args:
        masked: whose gates were learned.
        encoder: that it was made of.
        method: for the error messages.
        sparsity: fraction of the encoder's parameters that shall go.
        multiple: FFN units and convolution channels come in multiples of this.
        head_multiple: the same for the dimensions inside heads.
        equal_heads: the heads of a layer lose equally many.

    Raises:
        InputError: the target cannot be met.
    """
    total = nonzero_parameters(encoder)
    kept = {kind: own.cpu() for kind, own in masked.kept().items()}
    strength = {kind: masked.strength(kind).cpu() for kind in kept}
    fine = [kind for kind in FINE if kind in kept]
    for kind in fine:
        kept[kind] = torch.ones_like(kept[kind])

    def sparsity_of(trial: Mapping[GateKind, Tensor]) -> float:
        return 1 - stored_after(encoder, selection_of_gates(encoder.shape, trial)) / total

    closed = [(kind, n) for kind in COARSE if kind in kept for n in _numbers(~kept[kind])]
    closed.sort(key=lambda place: float(strength[place[0]][place[1]]))
    while closed and sparsity_of(kept) > sparsity:
        kind, number = closed.pop()
        kept[kind][number] = True
    multiples = {"qk": head_multiple, "vo": head_multiple, "ffn": multiple, "conv": multiple}
    members, queues, keys = _queues(encoder, kept, strength, fine, multiples, equal_heads)

    def after(counts: Counts) -> dict[GateKind, Tensor]:
        trial = {kind: own.clone() for kind, own in kept.items()}
        for queue, steps in zip(queues, counts.tolist(), strict=True):
            for position in queue.positions:
                kind, ranked = members[position]
                trial[kind][ranked[: queue.lost(steps)]] = False
        return trial

    counts = meet_target(
        method,
        sparsity,
        total,
        RemovalOrder(keys),
        lambda counts: stored_after(encoder, selection_of_gates(encoder.shape, after(counts))),
    )
    return {kind: own.to(encoder.device) for kind, own in after(counts).items()}


Member = tuple[GateKind, Tensor]
"""The gates of one FFN, head or convolution, weakest first."""


def _queues(
    encoder: SpeechEncoder,
    kept: Mapping[GateKind, Tensor],
    strength: Mapping[GateKind, Tensor],
    fine: Sequence[GateKind],
    multiples: Mapping[str, int],
    equal_heads: bool,
) -> tuple[list[Member], list[Queue], list[NDArray[np.float64]]]:
    """Return the groups that lose units, in which steps they do, and what each step costs."""
    members: list[Member] = []
    bundles: dict[tuple[GateKind, int, int, int | None], list[int]] = {}
    open_heads = _open_heads(encoder, kept)
    for kind in fine:
        start = 0
        for owner, (layer, size) in enumerate(_groups(encoder, kind)):
            alone = None if equal_heads and kind in ("qk", "vo") else owner
            if kind not in ("qk", "vo") or open_heads[owner]:
                weakest = torch.argsort(strength[kind][start : start + size], stable=True)
                bundles.setdefault((kind, layer, size, alone), []).append(len(members))
                members.append((kind, start + weakest))
            start += size
    queues, keys = [], []
    for (kind, _, size, _), positions in bundles.items():
        gone = _losses(size, multiples[kind], least=1 if kind == "conv" else 0)
        if len(gone):
            ranked = torch.stack([strength[kind][members[position][1]] for position in positions])
            queues.append(Queue(tuple(positions), gone))
            keys.append(ranked.double().mean(0).numpy()[gone - 1])
    return members, queues, keys


def _groups(encoder: SpeechEncoder, kind: GateKind) -> list[tuple[int, int]]:
    """Return layer and size of every FFN, head or convolution, in the order of the gates."""
    if kind in ("qk", "vo"):
        return [
            (number, getattr(head, kind))
            for number, layer in enumerate(encoder.shape.layers)
            for head in layer.heads
        ]
    return list(enumerate(gate_sizes(encoder.shape)[kind]))


def _open_heads(encoder: SpeechEncoder, kept: Mapping[GateKind, Tensor]) -> list[bool]:
    sizes = gate_sizes(encoder.shape)["head"]
    heads = kept["head"].tolist() if "head" in kept else [True] * sum(sizes)
    if "attention" in kept:
        blocks = np.repeat(kept["attention"].numpy(), sizes).tolist()
        heads = [head and block for head, block in zip(heads, blocks, strict=True)]
    return heads


def _losses(size: int, multiple: int, least: int) -> NDArray[np.int64]:
    """Return how many units are gone after 1, 2, ... steps; at least `least` always stay."""
    left = range(size - 1, least - 1, -1)
    return np.array([size - count for count in left if count % multiple == 0], dtype=np.int64)


def _numbers(flags: Tensor) -> list[int]:
    return [number for number, flag in enumerate(flags.tolist()) if flag]
