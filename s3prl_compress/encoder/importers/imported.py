"""The result of an importer, and the one place where an encoder is built from it."""

from __future__ import annotations

import importlib.metadata
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...common.errors import InputError
from ...common.files import sha256
from ..checkpoint import check_tensors, fill
from ..head import CTCHead
from ..model import FAIRSEQ_EPS, SpeechEncoder
from ..provenance import Provenance
from ..shape import EncoderShape, check_counts

MASK_EMBEDDING = "masked_spec_embed"


@dataclass
class ImportedCheckpoint:
    """A checkpoint of another project, translated to this package's shape and parameter names."""

    shape: EncoderShape
    tensors: dict[str, Tensor]
    """By Hugging Face's names, without the heads of pre-training."""
    normalize: bool | None
    """Whether waveforms are normalised; None: the checkpoint does not say."""
    files: tuple[Path, ...]
    """Files that the weights were read from, in order."""
    normalize_eps: float = FAIRSEQ_EPS
    """Added to the variance when normalising, in the project that wrote the checkpoint."""
    normalize_key: str = "normalize"
    """The format's name for `normalize`, for messages."""
    head: CTCHead | None = None
    libraries: tuple[str, ...] = ("torch",)
    """Packages that read the files; their versions become part of the provenance."""
    provenance: Provenance | None = None
    """History that the checkpoint brings with it, if this package wrote it."""


def build_encoder(
    imported: ImportedCheckpoint,
    *,
    base: str,
    revision: str | None = None,
    normalize: bool | None = None,
) -> SpeechEncoder:
    """Build an encoder from an imported checkpoint, without initialising or copying weights.

    Args:
        imported: the result of an importer.
        base: where it comes from, as the user named it.
        revision: commit on the model hub.
        normalize: whether waveforms are normalised; None: as the checkpoint says.

    Raises:
        InputError: a tensor is missing, unexpected, of the wrong size, or not finite.
    """
    if normalize is None:
        normalize = imported.normalize
    if not isinstance(normalize, bool | int | None):
        raise InputError(
            f"{base}: {imported.normalize_key} is a {type(normalize).__name__}; it must be true or "
            "false"
        )
    if normalize is None:
        warnings.warn(
            f"{base} does not say whether waveforms are to be normalised (it has no "
            f"`{imported.normalize_key}`); assuming no. Set it by --normalize yes or no",
            stacklevel=2,
        )
        normalize = False
    with torch.device("meta"):
        encoder = SpeechEncoder(
            imported.shape, normalize=bool(normalize), normalize_eps=imported.normalize_eps
        )
    # It is not used in the forward pass, and not every format stores it.
    imported.tensors.setdefault(MASK_EMBEDDING, torch.zeros(imported.shape.hidden))
    given = {name: tuple(tensor.shape) for name, tensor in imported.tensors.items()}
    check_tensors(encoder.state_dict(), given, base)
    fill(encoder, imported.tensors, base)
    encoder.head = imported.head
    encoder.provenance = imported.provenance or Provenance(
        base=base,
        base_revision=revision,
        base_sha256=sha256(*imported.files),
        packages={name: importlib.metadata.version(name) for name in imported.libraries},
    )
    return encoder


def ctc_head(
    weight: Tensor, bias: Tensor, hidden: int, vocabulary: tuple[str, ...], blank: int, where: str
) -> CTCHead:
    """Return a CTC head.

    Args:
        weight: [symbols, hidden].
        bias: [symbols].
        hidden: width of the encoder.
        vocabulary: the symbols, in the order of the outputs.
        blank: index of the CTC blank.
        where: of the tensors, for messages.

    Raises:
        InputError: a tensor has another shape.
    """
    symbols = len(vocabulary)
    if weight.shape != (symbols, hidden) or bias.shape != (symbols,):
        raise InputError(
            f"{where} has the shapes {list(weight.shape)} and {list(bias.shape)} where "
            f"{[symbols, hidden]} and {[symbols]} are expected"
        )
    with torch.device("meta"):
        head = CTCHead(hidden, vocabulary, blank)
    head.load_state_dict(
        {"linear.weight": weight.float(), "linear.bias": bias.float()}, assign=True
    )
    return head.requires_grad_(True)


def checked_head_size(hidden: Any, heads: Any, layers: Any, where: str) -> int:
    """Return the size of each head of a model with these sizes.

    Raises:
        InputError: a size is not a whole number or out of bounds, or the heads do not divide the
            width.
    """
    try:
        check_counts(layers, heads)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    if not isinstance(hidden, int) or hidden < 1 or hidden % heads:
        raise InputError(f"{where}: width {hidden} cannot be divided among {heads} heads")
    return hidden // heads
