"""`load` and `save`: any model that we can read, and our own folder."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import InputError
from .checkpoint import is_checkpoint, load_folder, save_folder
from .model import PADDINGS, Padding, SpeechEncoder
from .shipped import SHIPPED, shipped_folder


def load(
    source: str | Path,
    *,
    padding: Padding = "independent",
    device: str | torch.device | None = None,
    revision: str | None = None,
) -> SpeechEncoder:
    """Load an encoder, in eval mode.

    Args:
        source: a checkpoint folder of ours, a transformers folder, an s3prl-converted `.pt`,
            a torchaudio or DPHuBERT file, a model hub id ("facebook/hubert-base-ls960"), or the
            name of an encoder that comes with the package ("hubert_demo").
        padding: how the end of the shorter utterances of a batch is treated.
        device: where the weights go; the CPU if None.
        revision: branch, tag or commit of a hub id.

    Raises:
        InputError: one line that says what is wrong with which file.
    """
    if padding not in PADDINGS:
        raise InputError(f"padding {padding!r}: choose one of {', '.join(PADDINGS)}")
    if str(source) in SHIPPED and not Path(source).exists():
        source = shipped_folder(str(source))
    if is_checkpoint(source):
        encoder = load_folder(source)
    else:
        # Importers read several libraries' formats; our own folder needs none of them.
        from .importers import import_foreign

        encoder = import_foreign(str(source), revision)
    encoder.padding = padding
    encoder.requires_grad_(True)
    return encoder.to(device or "cpu").eval()


def save(encoder: SpeechEncoder, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write `encoder` as a checkpoint folder, whole or not at all, and return its path.

    With `dtype=torch.float16` the folder has half the size; loaded again, the encoder is float32
    with rounded weights.

    Raises:
        InputError: `folder` exists and is not a checkpoint of ours, or a weight is too large for
            float16.
    """
    return save_folder(encoder, folder, dtype)
