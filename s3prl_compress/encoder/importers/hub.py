"""Model folders from the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import InputError
from .reading import first_line

_ID = re.compile(r"[\w.-]+/[\w.-]+")
_DESCRIPTIONS = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "added_tokens.json",
]
_SAFETENSORS = ["model.safetensors", "model-*.safetensors", "model.safetensors.index.json"]
_LEGACY = ["pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"]


def is_hub_id(source: str) -> bool:
    """Say whether `source` is written like a hub id: one name of an owner, one of a model."""
    return _ID.fullmatch(source) is not None


def download(repository: str, revision: str | None) -> tuple[Path, str]:
    """Fetch the files of a model that are needed, from the local cache where they are there.

    Returns:
        The folder, and the commit.

    Raises:
        InputError: there is no such model, no way to it, or no weights in it.
    """
    import huggingface_hub

    def fetch(patterns: list[str]) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=patterns
            )
        )

    try:
        folder = fetch(_DESCRIPTIONS + _SAFETENSORS)
        if not any(folder.glob("model*.safetensors")):
            folder = fetch(_DESCRIPTIONS + _LEGACY)
    except Exception as error:  # its errors have no common base over its versions
        raise InputError(
            f"{repository} is no path here, and could not be fetched from the model hub: "
            f"{first_line(error)}"
        ) from error
    return folder, folder.name
