"""OpenAI's normalisers of texts, which make word error rates comparable with published ones."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

from ..common.errors import InputError
from ..common.extras import require_extra

_PACKAGE = "whisper-normalizer"
_SPELLINGS = 1739
"""Entries of OpenAI's map from British to American spelling."""

Normalizer = Callable[[str], str]


def text_normalizer(language: str) -> Normalizer:
    """Return OpenAI's normaliser for texts in a language, as published in its Whisper repository.

    English has one of its own, which writes numbers as digits, expands contractions and takes
    American spelling. The texts of all other languages lose brackets, punctuation and diacritics.

    Args:
        language: Whisper's code of it.

    Raises:
        InputError: the package is not installed, or its spelling map is not OpenAI's.
    """
    require_extra("whisper", "task whisper")
    if language == "en":
        from whisper_normalizer.english import EnglishTextNormalizer

        normalize = EnglishTextNormalizer()
        entries = len(normalize.standardize_spellings.mapping)
        if entries != _SPELLINGS:
            raise InputError(
                f"{normalizer_name(language)}: its spelling map has {entries} entries, OpenAI's "
                f"has {_SPELLINGS}; install another version with: pip install "
                "'s3prl_compress[whisper]'"
            )
    else:
        from whisper_normalizer.basic import BasicTextNormalizer

        normalize = BasicTextNormalizer()
    return lambda text: " ".join(normalize(text).split())


def normalizer_name(language: str) -> str:
    """Return name, version and kind of the normaliser for a language, as records have it."""
    try:
        version = metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        version = "not installed"
    return f"{_PACKAGE} {version}, {'English' if language == 'en' else 'basic'}"
