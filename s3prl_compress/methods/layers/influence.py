"""Block influence: how much each Transformer layer changes the hidden states of speech."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ...encoder.model import SpeechEncoder


def block_influence(
    encoder: SpeechEncoder, speech: Iterable[Tensor], seconds: float | None = None
) -> tuple[float, ...]:
    """Return 1 - cos(x, y) for the input x and the output y of each layer, averaged over frames.

    0 stands for a layer that changes no frame's direction. Utterances are processed one at a time,
    so that no frame is padding. In models that normalise before attention, x and y are those of
    the residual stream, which are not normalised.

    Source: ShortGPT (Men et al., 2024, arXiv 2403.03853), equation 1.

    Args:
        encoder: the encoder with the layers.
        speech: waveforms, 1-D at 16 kHz.
        seconds: expected amount of speech, for the progress bar.
    """
    stack = encoder.encoder.layers
    totals = torch.zeros(len(stack), dtype=torch.float64, device=encoder.device)
    frames = 0
    hooks = [
        layer.register_forward_hook(_add_cosines(totals, number))
        for number, layer in enumerate(stack)
    ]
    try:
        with (
            torch.no_grad(),
            tqdm(
                total=None if seconds is None else round(seconds),
                desc="block influence",
                unit="s",
                file=sys.stderr,
                leave=False,
            ) as bar,
        ):
            for waveform in speech:
                _, counts = encoder([waveform])
                frames += int(counts.sum())
                bar.update(len(waveform) / encoder.sampling_rate)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple((1 - totals / max(frames, 1)).tolist())


def _add_cosines(
    totals: Tensor, number: int
) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        cosines = F.cosine_similarity(inputs[0].float(), output.float(), dim=-1)
        totals[number] += cosines.sum(dtype=torch.float64)

    return hook
