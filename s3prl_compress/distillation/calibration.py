"""The teacher's hidden states of a sample of the audio, computed before training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLING_RATE, AudioSet
from ..encoder import SpeechEncoder
from ..training.processes import is_main


@torch.no_grad()
def sample_states(
    encoder: SpeechEncoder,
    audio: AudioSet,
    states: Sequence[int],
    *,
    frames: int,
    crop_seconds: float,
    seed: int,
) -> list[Tensor]:
    """Return hidden states of randomly drawn files, [frames, hidden] each, on the CPU.

    Args:
        encoder: the teacher.
        audio: files to draw from.
        states: numbers of the hidden states.
        frames: number of frames to return; fewer if all files together have fewer.
        crop_seconds: only the first seconds of a longer file are used.
        seed: random seed for the order of the files.
    """
    sampled: list[list[Tensor]] = [[] for _ in states]
    missing = frames
    with tqdm(total=frames, desc="calibration", unit="frame", disable=not is_main()) as bar:
        for index in np.random.default_rng(seed).permutation(len(audio.files)):
            samples = min(audio.lengths[index], int(crop_seconds * SAMPLING_RATE))
            hidden, _ = encoder([audio.read(int(index), 0, samples).to(encoder.device)])
            for own, state in zip(sampled, states, strict=True):
                own.append(hidden[state][0, :missing].float().cpu())
            bar.update(len(sampled[0][-1]))
            missing -= len(sampled[0][-1])
            if not missing:
                break
    return [torch.cat(own) for own in sampled]
