"""Removing Transformer layers: the control that every other method is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ...common.errors import InputError
from ...encoder.model import SpeechEncoder
from ...encoder.shape import MAX_LAYERS
from ...surgery.rebuild import rebuild
from ..calibration_audio import CalibratedConfig, waveforms
from ..registry import register
from .influence import block_influence
from .merging import merged_layers

Criterion = Literal["top", "similarity", "every"]

_AUDIO_SETTINGS = ("audio", "audio_seconds", "seed")


class LayersConfig(CalibratedConfig):
    """Settings of layer removal."""

    keep: int | None = Field(default=None, ge=0, le=MAX_LAYERS)
    """Number of Transformer layers that stay. 0 keeps none: the encoder is the convolutional
    front end with its projection, and has one hidden state of its own. Give this or
    remove_fraction."""
    remove_fraction: float | None = Field(default=None, ge=0, le=1)
    """Fraction of the Transformer layers to remove, between 0 and 1, rounded to a whole number of
    layers."""
    criterion: Criterion = "top"
    """Which layers are removed. top: the top ones; similarity: those whose output is most similar
    to their input, by the mean cosine over all frames of `audio`; every: layers at equal distances,
    the top one among them (every k-th, if 1 / k of the layers are removed)."""
    merge: bool = False
    """Merge each removed layer into the nearest remaining one below it, or the lowest one, by
    adding the differences between their parameters. The layers must be of the same size. By
    default, removed layers are dropped."""
    repeat_states: bool = False
    """Keep the number of hidden states: the output of a removed layer is replaced by its input, as
    if the layer did nothing, so that hidden state i still stands for original layer i. By
    default, the outputs of removed layers are removed, too."""
    audio: Path | None = None
    """Speech for the criterion similarity: a folder that is searched for wav, flac and ogg files
    (of LibriSpeech only the parts train-...), or a csv table with a column `file`."""
    audio_seconds: float = Field(default=120.0, gt=0)
    """Seconds of that speech to use at most."""
    seed: int = Field(default=0, ge=0)
    """Random seed for choosing files."""

    @model_validator(mode="after")
    def _consistent(self) -> LayersConfig:
        if (self.keep is None) == (self.remove_fraction is None):
            raise ValueError("give either keep, the number of layers that stay, or remove_fraction")
        if self.criterion == "similarity" and self.audio is None:
            raise ValueError(
                "the criterion similarity is measured on speech: give audio, a folder or a table"
            )
        if self.criterion != "similarity":
            for name in _AUDIO_SETTINGS:
                if name in self.model_fields_set and getattr(self, name) is not None:
                    raise ValueError(f"{name} needs the criterion similarity")
        return self

    def recorded(self) -> dict[str, Any]:
        """Return the settings for the history, without those that have no effect.

        A setting that is newer than `keep` is left out at its default, so that upstreams of suites
        made before it existed stay valid. The audio is recorded by its fingerprint.
        """
        settings = super().recorded()
        unused = [name for name in ("keep", "remove_fraction") if settings[name] is None]
        unused += [
            name
            for name in ("criterion", "merge", "repeat_states")
            if settings[name] == type(self).model_fields[name].default
        ]
        if self.audio is None:
            unused += _AUDIO_SETTINGS
        else:
            settings["audio"] = self.listed(self.audio).described(self.audio)
        return {name: value for name, value in settings.items() if name not in unused}


@register("layers")
def layers(encoder: SpeechEncoder, config: LayersConfig) -> SpeechEncoder:
    """Remove Transformer layers: the top ones, those that do least, or every k-th.

    What remains is connected as if the removed layers returned their input. In a model that
    normalises before attention (the large ones), their contribution to the residual stream is
    removed exactly. The position convolution and the stack's LayerNorm stay, and so does WavLM's
    position table. Of a model that normalises before attention, the last hidden state is
    normalised, as it is in the full model; with the top layers removed it differs from the full
    model's state of that number, which is not. The inputs of all layers below the lowest removed
    one are equal to those in the full model. A CTC head stays and reads the new last state.

    Reference:
        Sajjad, Dalvi, Durrani, Nakov: On the effect of dropping layers of pre-trained Transformer
        models, Computer Speech & Language 77, 2023 (arXiv 2004.03844; "top-layer dropping").
        Similarity: Men et al.: ShortGPT, 2024 (arXiv 2403.03853; block influence); for speech,
        Dorszewski et al.: How redundant is the Transformer stack in speech
        representation models?, ICASSP 2025 (arXiv 2409.16302). Every k-th: Fan, Grave, Joulin:
        LayerDrop, ICLR 2020 (arXiv 1909.11556). Merging: Yang, Cao, Zhao: LaCo, 2024 (arXiv
        2402.11187), here of the layers that the criterion names. What each layer of a speech
        encoder holds: Pasad, Chou, Livescu: Layer-wise analysis of a self-supervised speech
        representation model, ASRU 2021 (arXiv 2107.04734).
    """
    present = len(encoder.shape.layers)
    kept = _kept(encoder, config, _count(config, present))
    if not config.merge or len(kept) == present:
        return rebuild(encoder, {}, kept=kept, repeat_states=config.repeat_states)
    if not kept:
        raise InputError("method layers: merge needs at least one layer that stays")
    linears, tensors = merged_layers(encoder, kept)
    return rebuild(encoder, linears, kept=kept, repeat_states=config.repeat_states, tensors=tensors)


def _count(config: LayersConfig, present: int) -> int:
    """Return how many layers stay."""
    if config.remove_fraction is not None:
        return present - round(config.remove_fraction * present)
    assert config.keep is not None  # checked by the settings
    if config.keep > present:
        raise InputError(
            f"method layers: keep {config.keep} is more than the {present} layers of this encoder"
        )
    return config.keep


def _kept(encoder: SpeechEncoder, config: LayersConfig, count: int) -> list[int]:
    """Return the numbers of the layers that stay, in ascending order."""
    present = len(encoder.shape.layers)
    if config.criterion == "top" or count in (0, present):
        return list(range(count))
    if config.criterion == "every":
        return [position * present // count for position in range(count)]
    assert config.audio is not None  # checked by the settings
    speech = waveforms(
        config.listed(config.audio),
        seconds=config.audio_seconds,
        minimum_samples=encoder.shape.minimum_samples,
        seed=config.seed,
    )
    influence = block_influence(encoder, speech, config.audio_seconds)
    # Of equal layers, the lower ones stay.
    return sorted(sorted(range(present), key=lambda layer: (-influence[layer], layer))[:count])
