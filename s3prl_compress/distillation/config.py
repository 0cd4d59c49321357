"""Settings of the learned methods, and the stages that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ..audio import AudioSet, open_audio
from ..methods.registry import MethodConfig
from ..surgery.setting_types import Numbers
from ..training.settings import GroupRule

_LOSS_OF = {"layers": "layers", "layer_zero": "layers", "groups": "groups", "codes": "codes"}
"""Settings that have an effect with one loss only, and that loss."""


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
    """Untranscribed speech: a folder of wav, flac or ogg files at any depth (of LibriSpeech,
    train-* are taken), or a csv table with the column `file`; any rate, any channels."""
    steps: int = Field(default=50_000, ge=1)
    """Updates. Everything that is a fraction follows: 100 make a smoke run of the same form."""
    batch_seconds: float = Field(default=160.0, gt=0)
    """Audio in a batch, padding included, over all processes together."""
    accumulation: int = Field(default=4, ge=1)
    """Batches per update."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Of the weights, at its peak."""
    warmup: float = Field(default=0.3, ge=0, lt=1)
    """Fraction of the steps in which learning rates rise; they fall to zero in the others."""
    clip: float = Field(default=10.0, gt=0)
    """Largest norm of all gradients together."""
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
        return {"audio": self.listed().described(self.audio)} | super().recorded()

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
            self._opened.check_audible()
        return self._opened

    def stage(self, name: str, rules: tuple[GroupRule, ...] = ()) -> Stage:
        """Return the stage that the settings describe."""
        return Stage(name, self.steps, self.learning_rate, self.warmup, rules)


class ImitatingConfig(LearnedConfig):
    """Settings of methods that learn from a teacher."""

    crop_seconds: float = Field(default=15.0, gt=0)
    """Longer files are cut into crops of this length."""
    loss: Literal["layers", "groups", "relations", "codes"] = "layers"
    """What the student learns of the teacher. layers: some hidden states, as DPHuBERT; groups: the
    means of groups of similar ones, after SKILL; relations: between all frames of an utterance in
    every state, as STaR; codes: to predict the teacher's clusters of masked frames, after
    DiceHuBERT."""
    layers: Numbers | None = None
    """Numbers of the hidden states that are compared. The default is 0, 4, 8 and 12 for 12 layers,
    and the same relative depths otherwise. 0 is the input of the first Transformer layer, after
    the position convolution; in dphubert, layer_zero can choose another tensor."""
    groups: int = Field(default=4, ge=1)
    """How many groups of hidden states there are."""
    codes: int = Field(default=500, ge=2)
    """How many clusters; of the state as deep as HuBERT's ninth of 12."""

    @model_validator(mode="after")
    def _belongs_to_the_loss(self) -> ImitatingConfig:
        for name, loss in _LOSS_OF.items():
            if name in self.model_fields_set and getattr(self, name) and self.loss != loss:
                raise ValueError(f"{name} goes with the loss {loss!r} only, not {self.loss!r}")
        return self

    def compares_projection(self) -> bool:
        """Say whether layer 0 is the feature projection's output, see `LayerDistillation`."""
        return False

    def recorded(self) -> dict[str, Any]:
        """Return what the history keeps: of what belongs to one loss, that of the one used."""
        others = [name for name, loss in _LOSS_OF.items() if loss != self.loss]
        return {key: value for key, value in super().recorded().items() if key not in others}


class RecoveringConfig(ImitatingConfig):
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
