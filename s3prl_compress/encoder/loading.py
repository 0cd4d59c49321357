"""`load` and `save`: every format that can be read, and this package's own folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..common.errors import InputError
from .adapter import UpstreamAdapter
from .bundled import BUNDLED, bundled_folder
from .checkpoint import is_checkpoint, load_folder, save_folder
from .model import PADDINGS, Padding, SpeechEncoder


def load(
    source: str | Path,
    *,
    padding: Padding = "independent",
    device: str | torch.device | None = None,
    revision: str | None = None,
    normalize: bool | None = None,
) -> SpeechEncoder:
    """Load an encoder, in eval mode.

    Args:
        source: a checkpoint folder of ours, a transformers folder, an s3prl-converted `.pt`,
            a torchaudio or DPHuBERT file, a model hub id ("facebook/hubert-base-ls960"), or the
            name of an encoder that comes with the package ("hubert_demo").
        padding: how the end of the shorter utterances of a batch is treated.
        device: where the weights go; the CPU if None.
        revision: branch, tag or commit of a hub id.
        normalize: bring each waveform to zero mean and unit variance first; what the checkpoint
            says if None. Published SUPERB scores of base models (HuBERT, wav2vec2, WavLM) are of
            waveforms as they are, whatever transformers' preprocessor config says.

    Raises:
        InputError: one line that says what is wrong with which file.
    """
    if padding not in PADDINGS:
        raise InputError(f"padding {padding!r}: choose one of {', '.join(PADDINGS)}")
    if str(source) in BUNDLED and not Path(source).exists():
        source = bundled_folder(str(source))
    if is_checkpoint(source):
        encoder = load_folder(source)
    else:
        # Importers read several libraries' formats; our own folder needs none of them.
        from .importers import import_checkpoint

        encoder = import_checkpoint(str(source), revision, normalize)
    if normalize is not None:
        encoder.normalize = normalize
    encoder.padding = padding
    encoder.requires_grad_(True)
    return encoder.to(device or "cpu").eval()


def load_unless_loaded(
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    *,
    padding: Padding = "independent",
    device: str | torch.device | None = None,
    normalize: bool | None = None,
) -> SpeechEncoder | UpstreamAdapter:
    """Return `source` itself where it is a module, else what `load` makes of it.

    Raises:
        InputError: that of `load`, or `normalize` is given for a module.
    """
    if not isinstance(source, nn.Module):
        return load(source, padding=padding, device=device, normalize=normalize)
    if normalize is not None:
        name = source.upstream if isinstance(source, UpstreamAdapter) else "the encoder"
        raise InputError(
            f"{name}: normalize is an option of what is loaded here; leave it out"
            + ("" if isinstance(source, UpstreamAdapter) else ", and set `encoder.normalize`")
        )
    return source


def normalization_note(encoder: SpeechEncoder) -> str | None:
    """Return what a reader of scores must know of the input of a base model that normalises it.

    transformers' configs of base models (facebook/hubert-base-ls960 is one) say `do_normalize:
    true` where fairseq trained with `normalize: false`, and s3prl's upstreams follow fairseq.
    """
    if not encoder.normalize or encoder.shape.conv_norm != "group":
        return None
    return (
        "The waveforms are normalised, although the convolutions have a GroupNorm: s3prl's own "
        "upstreams of base models (HuBERT, wav2vec2, WavLM) take them as they are, and so do "
        "SUPERB's published scores (--normalize no)."
    )


def save(encoder: SpeechEncoder, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write `encoder` as a checkpoint folder, whole or not at all, and return its path.

    With `dtype=torch.float16` the folder has half the size; loaded again, the encoder is float32
    with rounded weights.

    Raises:
        InputError: `folder` exists and is not a checkpoint of ours, a weight is too large for
            float16, or the weights are not those of `encoder.shape`. Nothing is written then.
    """
    return save_folder(encoder, folder, dtype)
