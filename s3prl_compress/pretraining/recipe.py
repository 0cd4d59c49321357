"""The recipe of a pre-training run: a YAML file, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from ..common.method_config import RenamedSettings
from ..common.yaml_files import Location, parse, read_text, validated
from ..encoder import EncoderShape, dense_shape
from ..training.masking import MaskSettings
from ..training.settings import LoopSettings
from .objective import ObjectiveSettings
from .targets import HiddenTargets, TargetSettings


class _Settings(RenamedSettings):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSettings(_Settings):
    """Sizes of the encoder; see `encoder.dense_shape`."""

    family: Literal["hubert", "wav2vec2", "wavlm"] = "hubert"
    conv_widths: tuple[int, ...]
    hidden: int
    layers: int
    heads: int
    ffn: int
    large: bool = False
    """Use layer norms in the convolutions, and before attention and FFN."""
    position_kernel: int = 128
    position_groups: int = 16
    normalize: bool = False
    """Normalise each waveform to zero mean and unit variance."""

    def shape(self) -> EncoderShape:
        """Return the shape of the model."""
        return dense_shape(**self.model_dump(exclude={"normalize"}))


class AudioSettings(_Settings):
    """How audio is cut into batches."""

    renamed: ClassVar[Mapping[str, str]] = {"hold": "cache_in_memory"}

    crop_seconds: float = Field(gt=0)
    """Length in seconds of the crops into which longer files are cut."""
    batch_seconds: float = Field(gt=0)
    """Seconds of audio in a batch, including padding."""
    cache_in_memory: bool = True
    """Decode all audio once and keep it in memory, about 115 MB per hour of audio."""
    workers: int = Field(default=0, ge=0)
    """Number of processes that decode audio in advance. Does not change the result."""
    validation_files: int = Field(default=0, ge=0)
    """Number of files to validate on at every checkpoint instead of training on them."""


class Iteration(_Settings):
    """One training run over one set of targets."""

    targets: TargetSettings
    start: Literal["random", "previous"] = "random"
    """Initial weights: random, as in HuBERT, or those of the previous iteration."""
    masks: MaskSettings = MaskSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    loop: LoopSettings


class Recipe(_Settings):
    """A whole pre-training."""

    name: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    model: ModelSettings
    audio: AudioSettings
    iterations: tuple[Iteration, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        layers = len(self.model.shape().layers)
        for number, iteration in enumerate(self.iterations):
            hidden = isinstance(iteration.targets, HiddenTargets)
            if number == 0 and (hidden or iteration.start == "previous"):
                raise ValueError("the first iteration has no previous model: use mfcc and random")
            if isinstance(iteration.targets, HiddenTargets) and iteration.targets.layer > layers:
                raise ValueError(f"iterations.{number}: targets.layer is above {layers}")
        return self


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Raises:
        InputError: one line that names the file and the key.
    """
    path = Path(path)
    return validated(Recipe, parse(read_text(path), path), path, _keys_beside)


def _keys_beside(location: Location) -> list[str]:
    """Return the keys allowed at the top level; deeper ones depend on the kind of targets."""
    return list(Recipe.model_fields) if len(location) == 1 else []
