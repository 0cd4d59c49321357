"""A method in one file: the random baseline that every way of choosing units has to beat."""

from __future__ import annotations

import random

from pydantic import Field

from s3prl_compress.encoder import SpeechEncoder
from s3prl_compress.methods import MethodConfig, Selection, register, select_units


class RandomUnitsConfig(MethodConfig):
    """Settings of random pruning."""

    keep: float = Field(default=0.5, gt=0, le=1)
    """Fraction of the FFN units to keep in every layer, above 0 and at most 1."""
    seed: int = 0
    """Random seed of the choice."""


@register("random_units")
def random_units(encoder: SpeechEncoder, config: RandomUnitsConfig) -> SpeechEncoder:
    """Keep a random subset of the FFN units.

    Reference:
        Mittal et al.: Recovering from random pruning, WACV 2018, arXiv 1801.10447.
    """
    generator = random.Random(config.seed)
    everything = Selection.everything(encoder.shape)
    layers = []
    for layer in everything.layers:
        count = round(config.keep * len(layer.ffn))
        units = tuple(sorted(generator.sample(layer.ffn, count)))
        layers.append(layer.keeping(ffn=units))
    return select_units(encoder, everything.keeping(layers=tuple(layers)))
