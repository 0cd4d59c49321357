"""Second moments of the inputs of linears, measured on speech."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...encoder.model import SpeechEncoder
from ...surgery.rebuild import get_linear

INPUT_OF = {"q": "q", "k": "q", "v": "q", "out": "out", "fc1": "fc1", "fc2": "fc2"}
"""The linear whose input each of the six shares: q, k and v have the same input."""


def second_moments(
    encoder: SpeechEncoder, speech: Iterable[Tensor], names: Sequence[str], seconds: float
) -> dict[tuple[int, str], Tensor]:
    """Return the mean of x x^T over all frames, [in, in], for the inputs x of linears.

    Utterances are processed one at a time, so that no frame is padding. Only sums are stored.

    Args:
        encoder: the encoder with the linears.
        speech: waveforms, 1-D at 16 kHz.
        names: which of the six linears of each layer; q stands for q, k and v (see `INPUT_OF`).
        seconds: expected amount of speech, for the progress bar.
    """
    moments: dict[tuple[int, str], Tensor] = {}
    frames = 0
    hooks = []
    for layer in range(len(encoder.shape.layers)):
        for name in sorted({INPUT_OF[name] for name in names}):
            linear = get_linear(encoder, layer, name)
            width = encoder.shape.layers[layer].sizes(name, encoder.shape.hidden)[1]
            total = torch.zeros(width, width, device=encoder.device)
            moments[layer, name] = total
            hooks.append(linear.register_forward_pre_hook(_gather(total)))
    try:
        with (
            torch.no_grad(),
            tqdm(total=round(seconds), desc="activations", unit="s", file=sys.stderr) as bar,
        ):
            for waveform in speech:
                _, counts = encoder([waveform])
                frames += int(counts.sum())
                bar.update(len(waveform) / encoder.sampling_rate)
    finally:
        for hook in hooks:
            hook.remove()
    for total in moments.values():
        total /= max(frames, 1)
    return moments


def _gather(total: Tensor) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].detach().flatten(0, -2).float()
        total.addmm_(x.t(), x)

    return hook
