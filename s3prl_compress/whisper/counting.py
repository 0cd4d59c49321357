"""Parameters of a Whisper model, and its sparsity over three denominators."""

from __future__ import annotations

from dataclasses import dataclass

from ..encoder.shape import LINEARS
from .model import Whisper
from .shape import PARTS, Part

_ENCODER = "model.encoder."


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters."""

    total: int
    """All parameters; the embedding is also the output projection, and counts once."""
    encoder: int
    """The encoder's, with convolutions, positions and LayerNorms."""
    linears: dict[Part, int]
    """Weights and biases of the linears in attention and FFN, by part."""


def count(whisper: Whisper) -> Counts:
    """Count the parameters of a model."""
    sizes = {name: parameter.numel() for name, parameter in whisper.named_parameters()}
    shape = whisper.shape
    linears = dict.fromkeys(PARTS, 0)
    for part in PARTS:
        modules = {
            shape.linear_name(layer, name) for layer in shape.part_layers(part) for name in LINEARS
        }
        linears[part] = sum(n for name, n in sizes.items() if name.rpartition(".")[0] in modules)
    return Counts(
        total=sum(sizes.values()),
        encoder=sum(size for name, size in sizes.items() if name.startswith(_ENCODER)),
        linears=linears,
    )


def sparsities(before: Counts, after: Counts, part: Part) -> dict[str, float]:
    """Return the removed fraction over three denominators.

    Args:
        before: counts of the original model.
        after: counts of the compressed model.
        part: the part that the method could change.

    Returns:
        `all_parameters`: of the whole model's parameters, as publications count; `linears`: of the
        linears that the method could change; `encoder`: of the encoder's parameters.
    """
    return {
        "all_parameters": 1 - after.total / before.total,
        "linears": 1 - after.linears[part] / before.linears[part],
        "encoder": 1 - after.encoder / before.encoder,
    }
