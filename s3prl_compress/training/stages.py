"""Settings that all learned methods share, and the training runs (stages) they describe."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, PrivateAttr, field_validator, model_validator
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ..audio import AudioSet, open_audio
from ..common.errors import InputError
from ..common.extras import Extra
from ..common.method_config import MethodConfig
from .loop import Batches, Progress, train
from .settings import LoopSettings, ParamGroup


@dataclass(frozen=True)
class Stage:
    """One training run of a method, which may have several."""

    name: str
    """Name of its folder in the work folder, and label of its progress bar."""
    steps: int
    """Number of optimizer updates."""
    learning_rate: float
    """Peak learning rate of the weights."""
    warmup: float
    """Fraction of the updates in which the learning rate rises; then it falls to zero."""
    rules: tuple[ParamGroup, ...] = ()
    """Parameter groups with a learning rate of their own: gates, multipliers, thresholds."""


class LearnedConfig(MethodConfig):
    """Settings of all learned methods; the schedule is DPHuBERT's unless said otherwise."""

    needs_extra: ClassVar[Extra | None] = "train"
    renamed: ClassVar[Mapping[str, str]] = {"clip": "max_grad_norm", "hold": "cache_in_memory"}

    audio: Path = Field(exclude=True)
    """Untranscribed speech to train on: a folder that is searched for wav, flac and ogg files (of
    LibriSpeech only the parts train-...), or a csv table with a column `file`. Any sampling rate
    and number of channels."""
    steps: int = Field(default=50_000, ge=1)
    """Number of optimizer updates. Settings that are fractions scale with it, so 100 updates make
    a smoke test of the same schedule."""
    batch_seconds: float = Field(default=160.0, gt=0)
    """Seconds of audio in a batch, including padding, over all processes together."""
    accumulation: int = Field(default=4, ge=1)
    """Number of batches whose gradients are averaged in one update."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate of the weights."""
    warmup: float = Field(default=0.3, ge=0, lt=1)
    """Fraction of the updates in which learning rates rise linearly to their peak; afterwards they
    fall linearly to zero."""
    max_grad_norm: float = Field(default=10.0, gt=0)
    """Gradients are scaled down so that their norm over all parameters is at most this."""
    precision: Literal["auto", "bf16", "no"] = "auto"
    """Numerical precision of training. bf16: the teacher in bfloat16, the student with autocast;
    no: float32 throughout; auto: bf16 on a GPU, otherwise float32."""
    seed: int = Field(default=0, ge=0)
    """Random seed for crops, batches and gates."""
    work: Path | None = Field(default=None, exclude=True)
    """Folder for the state from which a stopped run resumes, and for TensorBoard logs. Without
    one a stopped run is lost. The command line uses OUTPUT.work."""
    log_every: int = Field(default=50, ge=1, exclude=True)
    """Number of updates between two log entries."""
    checkpoint_every: int = Field(default=1000, ge=1, exclude=True)
    """Number of updates between two saved states; a multiple of log_every."""
    workers: int = Field(default=2, ge=0, exclude=True)
    """Number of processes that decode audio in advance. Does not change the result."""
    cache_in_memory: bool = Field(default=False, exclude=True)
    """Decode all audio once and keep it in memory, about 115 MB per hour of audio."""

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
        """Return the settings for the history: the audio by its fingerprint, without its path."""
        return {"audio": self.listed().described(self.audio)} | super().recorded()

    def listed(self) -> AudioSet:
        """Return names and lengths of all audio files, without decoding them.

        The files are checked in the first call; later calls return the same object.

        Raises:
            InputError: the audio cannot be used.
        """
        if self._listed is None:
            self._listed = open_audio(self.audio, minimum_samples=1)
        return self._listed

    @contextmanager
    def unchanged_inputs(self) -> Iterator[None]:
        """See `MethodConfig.unchanged_inputs`; a saved state of changed audio is removed."""
        hashed = self.listed().hashed()
        yield
        try:
            hashed.check_unchanged()
        except InputError:
            if self.work is not None:
                shutil.rmtree(self.work, ignore_errors=True)
            raise

    def open(self, minimum_samples: int) -> AudioSet:
        """Return the audio to train on: all files of at least `minimum_samples` samples.

        It is decoded into memory if `cache_in_memory` is set.

        Raises:
            InputError: the audio cannot be used.
        """
        if self._opened is None:
            audio = self.listed()
            audio = audio.subset(audio.of_at_least(minimum_samples))
            self._opened = audio.hold() if self.cache_in_memory else audio
            self._opened.check_audible()
        return self._opened

    def stage(self, name: str, rules: tuple[ParamGroup, ...] = ()) -> Stage:
        """Return the stage with the settings' own schedule.

        Args:
            name: name of the stage.
            rules: parameter groups with a learning rate of their own.
        """
        return Stage(name, self.steps, self.learning_rate, self.warmup, rules)


def run_stage(
    model: nn.Module,
    batches: Batches,
    config: LearnedConfig,
    stage: Stage,
    device: torch.device,
    identity: str,
) -> Progress:
    """Train `model` in place for one stage, in the work folder of the settings.

    Args:
        model: see `loop.train`.
        batches: see `loop.train`.
        config: settings that all stages share.
        stage: schedule of this stage.
        device: device to train on.
        identity: fingerprint of everything that decides the result, see `identity_of`.

    Returns:
        The history of the stage.

    Raises:
        InputError: the work folder holds another run, or the loss is not finite.
    """
    settings = LoopSettings(
        steps=stage.steps,
        learning_rate=stage.learning_rate,
        warmup_steps=int(stage.warmup * stage.steps),
        accumulation=config.accumulation,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        epsilon=1e-8,
        max_grad_norm=config.max_grad_norm,
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
    """Return the precision to train with on `device`; `auto` is replaced."""
    if config.precision == "auto":
        return "bf16" if device.type == "cuda" else "no"
    return config.precision


def on_device(waveforms: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Copy waveforms to a GPU with a single transfer that does not wait for running kernels."""
    if device.type != "cuda":
        return waveforms
    moved = pad_sequence(waveforms, batch_first=True).pin_memory().to(device, non_blocking=True)
    return [row[: len(waveform)] for row, waveform in zip(moved, waveforms, strict=True)]


def identity_of(model: nn.Module, config: LearnedConfig, stage: Stage, *given: str) -> str:
    """Return the fingerprint that a saved state must match to be resumed, a SHA-256.

    It does not depend on what settings and classes are called today: a run that was begun by an
    earlier release can be resumed.

    Args:
        model: everything that is trained, in its state before the first update.
        config: settings of the method.
        stage: the training run.
        given: fingerprints of audio, transcripts, or a teacher.
    """
    settings = config.with_former_names(config.recorded())
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(f"{_described(stage)} {' '.join(given)}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        data = tensor.detach().cpu().contiguous().flatten()
        digest.update(data.view(torch.uint8).numpy().data if data.numel() else b"")
    return digest.hexdigest()


def _described(stage: Stage) -> str:
    """Return the text of a stage in fingerprints, which must stay as it is.

    It is the representation that the two dataclasses had when fingerprints were introduced, as
    `GroupRule` and its field `ascend` are `ParamGroup` and `maximize` now.
    """
    groups = tuple(
        f"GroupRule(names={group.names!r}, learning_rate={group.learning_rate!r}, "
        f"ascend={group.maximize!r}, momentum={group.momentum!r})"
        for group in stage.rules
    )
    # As Python writes a tuple: a single element is followed by a comma.
    rules = f"({groups[0]},)" if len(groups) == 1 else f"({', '.join(groups)})"
    return (
        f"Stage(name={stage.name!r}, steps={stage.steps!r}, learning_rate={stage.learning_rate!r}, "
        f"warmup={stage.warmup!r}, rules={rules})"
    )


@contextmanager
def _work_folder(config: LearnedConfig, stage: Stage) -> Iterator[Path]:
    if config.work is not None:
        yield config.work / stage.name
        return
    with tempfile.TemporaryDirectory(prefix="s3prl_compress.") as folder:
        yield Path(folder)


@contextmanager
def _own_noise(device: torch.device) -> Iterator[None]:
    """Restore torch's random generators at the end: training seeds them for every update."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
