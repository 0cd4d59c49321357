"""Distillation: train a student on untranscribed speech to match its teacher."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ..audio import SAMPLING_RATE, AudioSet
from ..encoder import EncoderShape, SpeechEncoder, fingerprint
from ..training.batches import AudioBatches
from ..training.loop import Batches, Progress
from ..training.masking import MaskSettings, draw_masks
from ..training.penalty import Penalty
from ..training.processes import local_device, rank_and_world_size
from ..training.stages import (
    Stage,
    identity_of,
    on_device,
    resolved_precision,
    run_stage,
)
from .config import DistillationConfig
from .layers import DistillationLoss
from .losses import build_distillation_loss
from .module import DistillationModule


def distill(
    student: nn.Module,
    teacher: SpeechEncoder,
    config: DistillationConfig,
    stage: Stage,
    penalty: Penalty | None = None,
    distance: DistillationLoss | None = None,
) -> Progress:
    """Train `student` in place to match the teacher's hidden states; leave it in eval mode.

    An interrupted stage resumes from the work folder to the same result.

    Args:
        student: module with a `shape` that is called like an encoder.
        teacher: the teacher, on the device to train on; it is not changed.
        config: audio, loss, and the settings that all stages share.
        stage: schedule of this stage.
        penalty: penalty on the student; its own parameters are trained as well.
        distance: the loss; by default a new one from `build_distillation_loss`. Pass the previous
            stage's loss to keep its trained projections.

    Returns:
        The history of the stage.

    Raises:
        InputError: the audio cannot be used, the work folder holds another run, or the loss is
            not finite.
    """
    shape = teacher.shape
    device, precision = local_device(teacher.device), resolved_precision(config, teacher.device)
    if distance is None:
        distance = build_distillation_loss(teacher, student.shape, config)  # type: ignore[arg-type]
    audio = config.open(shape.minimum_samples)
    frozen = _frozen(teacher, precision == "bf16").to(device)
    model = DistillationModule(student, frozen, distance, penalty, config.seed)
    identity = identity_of(model, config, stage, audio.fingerprint(), fingerprint(teacher))
    batches = _batches(audio, config, shape, device, distance.hides_frames)
    progress = run_stage(model, batches, config, stage, device, identity)
    student.eval()
    return progress


def final_distillation(
    student: SpeechEncoder,
    teacher: SpeechEncoder,
    config: DistillationConfig,
    stage: Stage | None,
    distance: DistillationLoss | None = None,
) -> SpeechEncoder:
    """Distil `student` in place without a penalty, and return it; do nothing without a stage."""
    if stage is not None:
        distill(student.requires_grad_(True), teacher, config, stage, distance=distance)
    return student


def _batches(
    audio: AudioSet,
    config: DistillationConfig,
    shape: EncoderShape,
    device: torch.device,
    hides_frames: bool,
) -> Batches:
    planned = AudioBatches(
        audio,
        crop_samples=int(config.crop_seconds * SAMPLING_RATE),
        batch_samples=int(config.batch_seconds * SAMPLING_RATE),
        seed=config.seed,
        alignment=shape.frame_stride,
    )

    def batches(first: int) -> Iterator[dict[str, Any]]:
        own, processes = rank_and_world_size()
        source = planned.iterate(first, config.workers, (own, processes))
        for number, (crops, waveforms) in enumerate(source, start=first):
            counted = frames = [shape.frames(crop.samples) for crop in crops]
            batch: dict[str, Any] = {}
            if hides_frames:
                random = np.random.default_rng([config.seed, number])
                drawn = draw_masks(frames, MaskSettings(), random)
                counted = drawn.sum(1).tolist()
                # A process without a crop gets one frame, that of the silence it is given below.
                longest = max(frames[own::processes], default=1)
                masks = drawn[own::processes, :longest]
                batch["masks"] = (masks if waveforms else masks.new_zeros(1, 1)).to(device)
            # With these weights, the mean over processes is the mean over all frames of the batch
            # that enter the loss.
            weight = processes * sum(counted[own::processes]) / sum(counted)
            yield batch | {
                "waveforms": on_device(waveforms or [torch.zeros(shape.minimum_samples)], device),
                "step": number // config.accumulation,
                "weight": weight,
            }

    return batches


def _frozen(teacher: SpeechEncoder, half: bool) -> SpeechEncoder:
    frozen = copy.deepcopy(teacher).eval().requires_grad_(False)
    return frozen.to(torch.bfloat16) if half else frozen
