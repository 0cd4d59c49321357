"""`load`, which reads all supported formats, and `save`, which writes checkpoint folders."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from ..common.errors import InputError
from .adapter import UpstreamAdapter
from .bundled import BUNDLED, bundled_folder
from .checkpoint import is_checkpoint, load_folder, rebuild_buffers, save_folder
from .exported import ExportedEncoder, exported_runtime, load_exported, refuse_exported
from .front_ends.whisper import PADS, Pad, WhisperSettings
from .model import PADDINGS, Padding, SpeechEncoder

_UNPADDED = " (pad: none)"
"""Suffix of a base model's name in histories and records."""


def load(
    source: str | Path,
    *,
    padding: Padding = "independent",
    device: str | torch.device | None = None,
    revision: str | None = None,
    normalize: bool | None = None,
    pad: Pad | None = None,
) -> SpeechEncoder:
    """Load an encoder, in eval mode.

    Args:
        source: a checkpoint folder of this package, a transformers folder, an s3prl-converted
            `.pt`, a torchaudio or DPHuBERT file, a model hub id ("facebook/hubert-base-ls960"), or
            the name of an encoder that comes with the package ("hubert_demo"). Of a Whisper model
            (transformers, openai's `.pt`, or a Whisper folder of this package) the encoder is
            loaded.
        padding: "independent": the features of an utterance do not depend on its batch;
            "fairseq": they do, as in s3prl's own upstreams.
        device: device for the weights; None: the CPU.
        revision: branch, tag or commit of a hub id.
        normalize: whether waveforms are normalised to zero mean and unit variance; None: as the
            checkpoint says. Published SUPERB scores of base models (HuBERT, wav2vec2, WavLM) use
            unnormalised waveforms, whatever transformers' preprocessor config says.
        pad: for Whisper only. "full": utterances are padded to 30 s, as Whisper was trained.
            "none": they are not, which saves time where they are short, and gives other hidden
            states: a model of its own, with another fingerprint. None: as the checkpoint says.

    Raises:
        InputError: the source cannot be loaded; the message says what is wrong with which file. An
            exported model (ONNX, OpenVINO) is refused too: it has no weights to work on.
    """
    if padding not in PADDINGS:
        raise InputError(f"padding {padding!r}: choose one of {', '.join(PADDINGS)}")
    if pad not in (None, *PADS):
        raise InputError(f"pad {pad!r}: choose one of {', '.join(PADS)}")
    if str(source) in BUNDLED and not os.path.exists(source):
        source = bundled_folder(str(source))
    refuse_exported(source)
    if is_checkpoint(source):
        encoder = load_folder(source)
    else:
        # Imported only here: a folder of this package needs none of the importers.
        from .importers import import_checkpoint

        encoder = import_checkpoint(str(source), revision, normalize)
    if normalize is not None:
        encoder.normalize = normalize
    if pad is not None:
        encoder = with_pad(encoder, pad)
    encoder.padding = padding
    encoder.requires_grad_(True)
    return encoder.to(device or "cpu").eval()


def with_pad(encoder: SpeechEncoder, pad: Pad) -> SpeechEncoder:
    """Return a Whisper encoder with the same weights, whose utterances are padded or not.

    The history's base names the variant without padding, since it is another model.

    Raises:
        InputError: the encoder is of another family.
    """
    settings = encoder.shape.front_end
    if not isinstance(settings, WhisperSettings):
        raise InputError(
            f"pad: applies to Whisper's encoder; this is a {encoder.shape.family} encoder"
        )
    front_end = settings.model_copy(update={"pad": pad})
    with torch.device("meta"):
        result = SpeechEncoder(
            encoder.shape.model_copy(update={"front_end": front_end}),
            normalize=encoder.normalize,
            normalize_eps=encoder.normalize_eps,
            padding=encoder.padding,
        )
    result.head, result.stored_as = encoder.head, encoder.stored_as
    result.load_state_dict(encoder.state_dict(), assign=True)
    rebuild_buffers(result)
    base = encoder.provenance.base.removesuffix(_UNPADDED)
    name = base + _UNPADDED if pad == "none" else base
    result.provenance = encoder.provenance.model_copy(update={"base": name})
    return result.train(encoder.training)


def load_unless_loaded(
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    *,
    padding: Padding = "independent",
    device: str | torch.device | None = None,
    normalize: bool | None = None,
    pad: Pad | None = None,
) -> SpeechEncoder | UpstreamAdapter:
    """Return `source` if it is a module already, or else load it.

    Exported models are loaded too, as upstreams that can be evaluated. They run on the CPU, and
    always with independent padding.

    Raises:
        InputError: loading fails, or `normalize` is given for a module or an exported model.
    """
    if not isinstance(source, nn.Module):
        if exported_runtime(source) is not None:
            if pad is not None:
                raise InputError(f"{source}: pad applies only to Whisper; leave it out")
            exported = load_exported(source)
            exported.padding = padding
            return _with_own_normalization(exported, normalize)
        return load(source, padding=padding, device=device, normalize=normalize, pad=pad)
    if normalize is not None:
        name = source.name if isinstance(source, UpstreamAdapter) else "the encoder"
        raise InputError(
            f"{name}: normalize applies only to checkpoints that are loaded here; leave it out"
            + ("" if isinstance(source, UpstreamAdapter) else ", and set `encoder.normalize`")
        )
    return source


def _with_own_normalization(exported: ExportedEncoder, normalize: bool | None) -> ExportedEncoder:
    if normalize not in (None, exported.normalize):
        does = "normalises" if exported.normalize else "does not normalise"
        raise InputError(
            f"{exported.path}: {does} waveforms, as it was exported; leave normalize out, or "
            "export the model again with it"
        )
    return exported


def normalization_note(encoder: SpeechEncoder | ExportedEncoder) -> str | None:
    """Return a warning about scores if a base model normalises its input, or else None.

    transformers' configs of base models (such as facebook/hubert-base-ls960) say `do_normalize:
    true` although fairseq trained them with `normalize: false`; s3prl's upstreams follow fairseq.
    """
    if not encoder.normalize or encoder.shape.conv_norm != "group":
        return None
    return (
        "The waveforms are normalised, although the convolutions have a GroupNorm: s3prl's own "
        "upstreams of base models (HuBERT, wav2vec2, WavLM) use unnormalised waveforms, and so do "
        "SUPERB's published scores (--normalize no)."
    )


def save(encoder: SpeechEncoder, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write `encoder` atomically as a checkpoint folder, and return its path.

    With `dtype=torch.float16` the folder is half as large. Loading it gives an encoder in float32
    with rounded weights.

    Raises:
        InputError: `folder` exists and is not a checkpoint of this package, a weight is too large
            for float16, or the weights do not match `encoder.shape`. Nothing is written then.
    """
    return save_folder(encoder, folder, dtype)
