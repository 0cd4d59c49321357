"""Which hidden states a one-pass head may weigh, and what it made of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..common.errors import InputError
from ..tasks.base.task import Settings


def check_first_state(settings: Settings, states: int, upstream: str) -> None:
    """Check that an upstream has the hidden state that the settings start from.

    Args:
        settings: of the run.
        states: number of the upstream's hidden states, layers + 1.
        upstream: its name.

    Raises:
        InputError: no hidden state would be left.
    """
    if settings.first_state >= states:
        known = "only hidden state 0" if states == 1 else f"hidden states 0 to {states - 1}"
        raise InputError(
            f"{upstream}: first_state {settings.first_state} leaves no hidden state to weigh; this "
            f"upstream has {known}"
        )


def layer_weights(heads: Sequence[Tensor], first_state: int) -> tuple[float, ...]:
    """Return the share of each hidden state in a head's weighted sum; they add up to 1.

    Args:
        heads: the parameters before the softmax, one tensor [states - first_state] per fold; of
            several folds the mean share is returned.
        first_state: number of hidden states that were left out; their shares are 0.
    """
    shares = torch.stack([head.detach().double().cpu().softmax(0) for head in heads]).mean(0)
    return (*([0.0] * first_state), *shares.tolist())
