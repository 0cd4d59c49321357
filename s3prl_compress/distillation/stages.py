"""What every learned method does: a student follows a teacher on untranscribed speech."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ..audio import SAMPLING_RATE, AudioSet
from ..encoder import EncoderShape, SpeechEncoder, fingerprint
from ..training.batches import AudioBatches
from ..training.loop import Batches, Progress, train
from ..training.masking import MaskSettings, draw_masks
from ..training.processes import own_device, share
from ..training.settings import LoopSettings
from .config import ImitatingConfig, LearnedConfig, Stage
from .layers import Distance
from .losses import distance_to
from .module import Imitation, Penalty


def distill(
    student: nn.Module,
    teacher: SpeechEncoder,
    config: ImitatingConfig,
    stage: Stage,
    penalty: Penalty | None = None,
    distance: Distance | None = None,
) -> Progress:
    """Train `student` in place to give the teacher's hidden states; leave it in eval mode.

    A stage that was begun in the work folder goes on, to the same result.

    Args:
        student: has a `shape` and is called as an encoder is; on the device to train on.
        teacher: stays as it is.
        config: audio and everything that stages have in common.
        stage: steps and learning rates.
        penalty: of the student; its parameters are trained, too.
        distance: see `distance_to`; a stage that follows another one goes on with its projections.

    Raises:
        InputError: audio that cannot be used, another run's work folder, or a loss that is no
            number any more.
    """
    shape = teacher.shape
    device, precision = own_device(teacher.device), resolved_precision(config, teacher.device)
    if distance is None:
        distance = distance_to(teacher, student.shape, config)  # type: ignore[arg-type]
    audio = config.open(shape.minimum_samples)
    frozen = _frozen(teacher, precision == "bf16").to(device)
    model = Imitation(student, frozen, distance, penalty, config.seed)
    identity = identity_of(model, config, stage, audio.fingerprint(), fingerprint(teacher))
    batches = _batches(audio, config, shape, device, distance.hides_frames)
    progress = run_stage(model, batches, config, stage, device, identity)
    student.eval()
    return progress


def recover(
    student: SpeechEncoder,
    teacher: SpeechEncoder,
    config: ImitatingConfig,
    stage: Stage | None,
    distance: Distance | None = None,
) -> SpeechEncoder:
    """Return `student` after plain distillation in place; as it is where there is no stage."""
    if stage is not None:
        distill(student.requires_grad_(True), teacher, config, stage, distance=distance)
    return student


def run_stage(
    model: nn.Module,
    batches: Batches,
    config: LearnedConfig,
    stage: Stage,
    device: torch.device,
    identity: str,
) -> Progress:
    """Train `model`, see `loop.train`, in the work folder of the settings.

    identity: see `identity_of`.
    """
    settings = LoopSettings(
        steps=stage.steps,
        learning_rate=stage.learning_rate,
        warmup_steps=int(stage.warmup * stage.steps),
        accumulation=config.accumulation,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        epsilon=1e-8,
        clip=config.clip,
        precision=resolved_precision(config, device),
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
    )
    with _work_folder(config, stage) as folder, _own_noise(device):
        return train(
            model,
            batches,
            settings,
            folder,
            rules=stage.rules,
            device=device,
            identity=identity,
            name=stage.name,
        )


def resolved_precision(config: LearnedConfig, device: torch.device) -> Literal["bf16", "no"]:
    """Return what `auto` stands for on a device."""
    if config.precision == "auto":
        return "bf16" if device.type == "cuda" else "no"
    return config.precision


def _batches(
    audio: AudioSet,
    config: ImitatingConfig,
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
        own, processes = share()
        source = planned.iterate(first, config.workers, (own, processes))
        for number, (crops, waveforms) in enumerate(source, start=first):
            counted = frames = [shape.frames(crop.samples) for crop in crops]
            batch: dict[str, Any] = {}
            if hides_frames:
                random = np.random.default_rng([config.seed, number])
                drawn = draw_masks(frames, MaskSettings(), random)
                counted = drawn.sum(1).tolist()
                # Of one frame where there is no crop, as the silence that stands in for one.
                longest = max(frames[own::processes], default=1)
                masks = drawn[own::processes, :longest]
                batch["masks"] = (masks if waveforms else masks.new_zeros(1, 1)).to(device)
            # So that the mean over processes is the mean over all that counts in the batch.
            weight = processes * sum(counted[own::processes]) / sum(counted)
            yield batch | {
                "waveforms": on_device(waveforms or [torch.zeros(shape.minimum_samples)], device),
                "step": number // config.accumulation,
                "weight": weight,
            }

    return batches


def on_device(waveforms: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Copy waveforms to a GPU in one piece and without waiting for what it still computes."""
    if device.type != "cuda":
        return waveforms
    moved = pad_sequence(waveforms, batch_first=True).pin_memory().to(device, non_blocking=True)
    return [row[: len(waveform)] for row, waveform in zip(moved, waveforms, strict=True)]


def _frozen(teacher: SpeechEncoder, half: bool) -> SpeechEncoder:
    frozen = copy.deepcopy(teacher).eval().requires_grad_(False)
    return frozen.to(torch.bfloat16) if half else frozen


def identity_of(model: nn.Module, config: LearnedConfig, stage: Stage, *given: str) -> str:
    """Return what a state must have been made of to be gone on with.

    model: all that is trained, as it is before the first step.

    given: fingerprints of audio, transcripts, a teacher.
    """
    digest = hashlib.sha256(json.dumps(config.recorded(), sort_keys=True).encode())
    digest.update(f"{stage} {' '.join(given)}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        data = tensor.detach().cpu().contiguous().flatten()
        digest.update(data.view(torch.uint8).numpy().data if data.numel() else b"")
    return digest.hexdigest()


@contextmanager
def _work_folder(config: LearnedConfig, stage: Stage) -> Iterator[Path]:
    if config.work is not None:
        yield config.work / stage.name
        return
    with tempfile.TemporaryDirectory(prefix="s3prl_compress.") as folder:
        yield Path(folder)


@contextmanager
def _own_noise(device: torch.device) -> Iterator[None]:
    """Leave torch's generators as they were: training seeds them anew for every update."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
