"""What every learned method does: a student follows a teacher on untranscribed speech."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, PrivateAttr, field_validator, model_validator
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ..encoder import SAMPLING_RATE, EncoderShape, SpeechEncoder, fingerprint
from ..methods.registry import MethodConfig
from .audio import AudioSet, open_audio
from .batches import AudioBatches
from .distillation import LayerDistillation, scaled_layers
from .imitation import Imitation
from .loop import Batches, Progress, train
from .processes import own_device, share
from .settings import GroupRule, LoopSettings


@dataclass(frozen=True)
class Stage:
    """One training run of a method, which may have several."""

    name: str
    """Of its folder below the work folder, and beside the progress bar."""
    steps: int
    learning_rate: float
    """Of the weights, at its peak."""
    warmup: float
    """Fraction of the steps in which it rises; it falls to zero in the others."""
    rules: tuple[GroupRule, ...] = ()
    """For gates, multipliers, thresholds."""


class LearnedConfig(MethodConfig):
    """Settings of all learned methods; the schedule is DPHuBERT's unless said otherwise."""

    audio: Path = Field(exclude=True)
    """Untranscribed speech: a folder of wav, flac or ogg files at any depth (LibriSpeech's layout
    will do), or a csv table with the column `file`; 16 kHz, mono."""
    steps: int = Field(default=50_000, ge=1)
    """Updates. Everything that is a fraction follows: 100 make a smoke run of the same form."""
    batch_seconds: float = Field(default=160.0, gt=0)
    """Audio in a batch, padding included, over all processes together."""
    accumulation: int = Field(default=4, ge=1)
    """Batches per update."""
    crop_seconds: float = Field(default=15.0, gt=0)
    """Longer files are cut into crops of this length."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Of the weights, at its peak."""
    warmup: float = Field(default=0.3, ge=0, lt=1)
    """Fraction of the steps in which learning rates rise; they fall to zero in the others."""
    clip: float = Field(default=10.0, gt=0)
    """Largest norm of all gradients together."""
    layers: tuple[int, ...] | None = None
    """Hidden states that are compared; by default 0, 4, 8 and 12 of 12, and as deep elsewhere."""
    precision: Literal["auto", "bf16", "no"] = "auto"
    """bf16: the teacher in bfloat16, the student with autocast; no: float32 throughout; auto: bf16
    on a GPU and float32 elsewhere."""
    seed: int = Field(default=0, ge=0)
    """Of crops, batches and gates."""
    work: Path | None = Field(default=None, exclude=True)
    """Folder of what is needed to go on after a stop, and of TensorBoard's logs; without one a
    run that is stopped is lost. The command line takes OUTPUT.work."""
    log_every: int = Field(default=50, ge=1, exclude=True)
    """Steps."""
    checkpoint_every: int = Field(default=1000, ge=1, exclude=True)
    """Steps; a multiple of log_every."""
    workers: int = Field(default=2, ge=0, exclude=True)
    """Processes that decode audio ahead. Does not change a result."""
    hold: bool = Field(default=False, exclude=True)
    """Decode all audio once and keep it in memory, 115 MB an hour."""

    _listed: AudioSet | None = PrivateAttr(default=None)
    _opened: AudioSet | None = PrivateAttr(default=None)

    @field_validator("audio")
    @classmethod
    def _is_there(cls, value: Path) -> Path:
        if not value.exists():
            raise ValueError("no such folder or table; give one of wav, flac or ogg files")
        return value

    @model_validator(mode="after")
    def _logged_before_kept(self) -> LearnedConfig:
        if self.checkpoint_every % self.log_every:
            raise ValueError("checkpoint_every must be a multiple of log_every")
        return self

    def recorded(self) -> dict[str, Any]:
        """Return what the history keeps: the audio by its fingerprint, and no folder."""
        found = f"{self.audio.name} (sha256 {self.listed().fingerprint()})"
        return {"audio": found} | super().recorded()

    def listed(self) -> AudioSet:
        """Return names and lengths of all audio, checked the first time; nothing is decoded.

        Raises:
            InputError: it cannot be used.
        """
        if self._listed is None:
            self._listed = open_audio(self.audio, minimum_samples=1)
        return self._listed

    def open(self, minimum_samples: int) -> AudioSet:
        """Return the audio to train on: files of `minimum_samples` or more, decoded if `hold`.

        Raises:
            InputError: it cannot be used.
        """
        if self._opened is None:
            audio = self.listed()
            audio = audio.subset(audio.of_at_least(minimum_samples))
            self._opened = audio.hold() if self.hold else audio
        return self._opened

    def stage(self, name: str, rules: tuple[GroupRule, ...] = ()) -> Stage:
        """Return the stage that the settings describe."""
        return Stage(name, self.steps, self.learning_rate, self.warmup, rules)


class RecoveringConfig(LearnedConfig):
    """Settings of learned methods that end with plain distillation of what they made."""

    final_steps: int | None = Field(default=None, ge=0)
    """Updates of plain distillation at the end; by default half as many as `steps`."""
    final_learning_rate: float = Field(default=1e-4, gt=0)
    """Its learning rate, at the peak."""
    final_warmup: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of its steps in which the learning rate rises."""

    def final_stage(self) -> Stage | None:
        """Return the stage of plain distillation; None where it has no steps."""
        steps = self.steps // 2 if self.final_steps is None else self.final_steps
        if steps == 0:
            return None
        return Stage("final", steps, self.final_learning_rate, self.final_warmup)


def distill(
    student: nn.Module,
    teacher: SpeechEncoder,
    config: LearnedConfig,
    stage: Stage,
    penalty: nn.Module | None = None,
    distance: LayerDistillation | None = None,
) -> Progress:
    """Train `student` in place to give the teacher's hidden states; leave it in eval mode.

    A stage that was begun in the work folder goes on, to the same result.

    Args:
        student: has a `shape` and is called as an encoder is; on the device to train on.
        teacher: stays as it is.
        config: audio and everything that stages have in common.
        stage: steps and learning rates.
        penalty: called with (student, step), returns a dictionary of scalars; its `loss` is
            added, the others are logged. Its parameters are trained, too.
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
    progress = run_stage(
        model, _batches(audio, config, teacher, device), config, stage, device, identity
    )
    student.eval()
    return progress


def distance_to(
    teacher: SpeechEncoder, student: EncoderShape, config: LearnedConfig
) -> LayerDistillation:
    """Return the loss of a student of this shape, its projections at the identity.

    Methods of several stages hand one on from each to the next: the student has learned to be
    seen through these projections, and would be torn from the teacher without them.
    """
    layers = config.layers or scaled_layers(len(teacher.shape.layers))
    return LayerDistillation(teacher.shape, student, layers)


def recover(
    student: SpeechEncoder,
    teacher: SpeechEncoder,
    config: LearnedConfig,
    stage: Stage | None,
    distance: LayerDistillation | None = None,
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
    audio: AudioSet, config: LearnedConfig, teacher: SpeechEncoder, device: torch.device
) -> Batches:
    shape = teacher.shape
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
            frames = [shape.frames(crop.samples) for crop in crops]
            # So that the mean over processes is the mean over all frames of the batch.
            weight = processes * sum(frames[own::processes]) / sum(frames)
            yield {
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
