"""Licences of published base models, which those of compressed models follow."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.errors import InputError


@dataclass(frozen=True)
class License:
    """A licence as the model hub names it."""

    identifier: str
    """The hub's own, such as "apache-2.0"."""
    remark: str = ""
    """What a user of the weights has to know, a sentence."""


_WAVLM = (
    "The base's model card links to this licence, which asks that derived weights be shared under "
    "it; the repository of WavLM's code says MIT (microsoft/unilm, issue 1757)."
)
_BASES = {
    "facebook/hubert-": License("apache-2.0"),
    "facebook/mms-": License("cc-by-nc-4.0", "Commercial use is not allowed."),
    "facebook/wav2vec2-": License("apache-2.0"),
    "hubert_demo": License("cc-by-4.0", "Trained on mini LibriSpeech (CC BY 4.0)."),
    "microsoft/wavlm-": License("cc-by-sa-3.0", _WAVLM),
    "openai/whisper-": License("apache-2.0"),
    "openai/whisper-large-v3-turbo": License("mit"),
}
"""By the beginning of the base's name; the longest one counts. As of 2026-11."""


def license_of(base: str, given: str | None) -> License:
    """Return the licence of a model.

    Args:
        base: the base model in its history.
        given: the identifier that the user names; None: that of the base.

    Raises:
        InputError: none is given, and that of the base is not known here.
    """
    if given is not None:
        return License(given)
    known = [start for start in _BASES if base.startswith(start)]
    if not known:
        raise InputError(
            f"the licence of {base} is not known here; give the hub's identifier of the licence "
            "under which you publish, such as --license apache-2.0"
        )
    return _BASES[max(known, key=len)]
