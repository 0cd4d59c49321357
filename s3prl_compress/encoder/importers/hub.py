"""Model folders from the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from ...common.errors import InputError
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


_SUFFIX = re.compile(r"\.[A-Za-z]\w*$")
"""Of a file, or of a folder such as `out/hubert_base.fold10`; a version ("v1.5") is none."""


def is_hub_id(source: str) -> bool:
    """Say whether `source`, where no such file is here, can be meant as a hub id.

    It is one name of an owner and one of a model. A path that was mistyped must never be looked
    up on the hub: whatever starts with `.` or `~`, ends like a file, or lies in a folder that is
    here, is a path.
    """
    return (
        _ID.fullmatch(source) is not None
        and not source.startswith(".")
        and _SUFFIX.search(source) is None
        and not Path(source).parent.exists()
    )


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
