"""What every importer hands over, and the one place where an encoder is built from it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...common.errors import InputError
from ..checkpoint import check_tensors, fill
from ..head import CTCHead
from ..model import FAIRSEQ_EPS, SpeechEncoder
from ..provenance import Provenance
from ..shape import EncoderShape, check_counts

MASK_EMBEDDING = "masked_spec_embed"


@dataclass
class ImportedCheckpoint:
    """A checkpoint of another project, in our terms."""

    shape: EncoderShape
    tensors: dict[str, Tensor]
    """Under our (Hugging Face's) names, heads of pre-training left out."""
    normalize: bool | None
    """None: the checkpoint does not say."""
    files: tuple[Path, ...]
    """Those that the weights were read from, in order."""
    normalize_eps: float = FAIRSEQ_EPS
    """Added to the variance by the code that the checkpoint comes from."""
    normalize_key: str = "normalize"
    """What the format calls the flag."""
    head: CTCHead | None = None
    libraries: tuple[str, ...] = ("torch",)
    """Packages that read the files."""


def build_encoder(
    foreign: ImportedCheckpoint,
    *,
    base: str,
    revision: str | None = None,
    normalize: bool | None = None,
) -> SpeechEncoder:
    """Build the encoder of `foreign`, without initialising or copying its weights.

    Args:
        foreign: what an importer read.
        base: where it comes from, as the user named it.
        revision: commit on the model hub.
        normalize: in place of what the checkpoint says.

    Raises:
        InputError: a tensor is missing, left over, misshapen or not finite.
    """
    if normalize is None:
        normalize = foreign.normalize
    if normalize is None:
        warnings.warn(
            f"{base} does not say whether waveforms are to be normalised (it has no "
            f"`{foreign.normalize_key}`); taken as no, --normalize yes or no says it",
            stacklevel=2,
        )
        normalize = False
    with torch.device("meta"):
        encoder = SpeechEncoder(
            foreign.shape, normalize=normalize, normalize_eps=foreign.normalize_eps
        )
    # It has no part in the forward pass, and not every format stores it.
    foreign.tensors.setdefault(MASK_EMBEDDING, torch.zeros(foreign.shape.hidden))
    given = {name: tuple(tensor.shape) for name, tensor in foreign.tensors.items()}
    check_tensors(encoder.state_dict(), given, base)
    fill(encoder, foreign.tensors, base)
    encoder.head = foreign.head
    encoder.provenance = Provenance(
        base=base,
        base_revision=revision,
        base_sha256=sha256(foreign.files),
        packages={name: importlib.metadata.version(name) for name in foreign.libraries},
    )
    return encoder


def ctc_head(weight: Tensor, bias: Tensor, vocabulary: tuple[str, ...], blank: int) -> CTCHead:
    """Return the head with these weights: [symbols, hidden] and [symbols]."""
    with torch.device("meta"):
        head = CTCHead(weight.shape[1], vocabulary, blank)
    head.load_state_dict(
        {"linear.weight": weight.float(), "linear.bias": bias.float()}, assign=True
    )
    return head.requires_grad_(True)


def sha256(files: tuple[Path, ...]) -> str:
    """Return the SHA-256 of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def sizes_fit(hidden: Any, heads: Any, layers: Any, where: str) -> int:
    """Return the head size of a model with these sizes.

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
