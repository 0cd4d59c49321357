"""Everything that a pre-training run can be told: a YAML file, checked before any work starts."""

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
    """The encoder's sizes; see `encoder.dense_shape`."""

    family: Literal["hubert", "wav2vec2", "wavlm"] = "hubert"
    conv_widths: tuple[int, ...]
    hidden: int
    layers: int
    heads: int
    ffn: int
    large: bool = False
    """Layer norms in the convolutions and before attention and FFN."""
    position_kernel: int = 128
    position_groups: int = 16
    normalize: bool = False
    """Each waveform is brought to zero mean and unit variance first."""

    def shape(self) -> EncoderShape:
        """Return the shape of the model."""
        return dense_shape(**self.model_dump(exclude={"normalize"}))


class AudioSettings(_Settings):
    """How audio is cut into batches."""

    renamed: ClassVar[Mapping[str, str]] = {"hold": "cache_in_memory"}

    crop_seconds: float = Field(gt=0)
    """Longer files are cut into crops of this length."""
    batch_seconds: float = Field(gt=0)
    """Audio in a batch, padding included."""
    cache_in_memory: bool = True
    """Decode all audio once and keep it in memory, about 115 MB per hour of audio."""
    workers: int = Field(default=0, ge=0)
    """Processes that decode ahead, where nothing is held. Does not change a result."""
    validation_files: int = Field(default=0, ge=0)
    """Files that are not trained on; their loss is measured at every checkpoint."""


class Iteration(_Settings):
    """One training run over one set of targets."""

    targets: TargetSettings
    start: Literal["random", "previous"] = "random"
    """Weights to begin with: new ones, as HuBERT does it, or those of the iteration before."""
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
                raise ValueError("the first iteration has no model before it: mfcc and random")
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
    """Only the outermost keys: below them a place can be one of several kinds."""
    return list(Recipe.model_fields) if len(location) == 1 else []
