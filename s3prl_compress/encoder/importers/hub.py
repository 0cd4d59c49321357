"""Model folders from the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ...common.errors import InputError
from .reading import first_line, read_json

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


_SUFFIX = re.compile(r"\.(?!en$)[A-Za-z]\w*$")
"""Suffix of a file, or of a folder such as `out/hubert_base.fold10`. "v1.5" has none, and neither
has an English-only Whisper model such as `openai/whisper-tiny.en`."""


def is_hub_id(source: str) -> bool:
    """Say whether `source`, which is not an existing path, can be a hub id: owner and model.

    A mistyped path must never be looked up on the hub. So whatever starts with `.` or `~`, has the
    suffix of a file, or lies in an existing folder is a path.
    """
    return (
        _ID.fullmatch(source) is not None
        and not source.startswith(".")
        and _SUFFIX.search(source) is None
        and not os.path.exists(Path(source).parent)
    )


def download(repository: str, revision: str | None, more: Sequence[str] = ()) -> tuple[Path, str]:
    """Download a model's configuration and weights, unless they are in the local cache.

    Args:
        repository: hub id of the model.
        revision: branch, tag or commit.
        more: names of further files to download if they exist.

    Returns:
        The folder, and the commit.

    Raises:
        InputError: there is no such model, or the hub cannot be reached.
    """
    import huggingface_hub

    def fetch(patterns: list[str]) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=patterns
            )
        )

    try:
        folder = fetch([*_DESCRIPTIONS, *more, *_SAFETENSORS])
        if not any(folder.glob("model*.safetensors")):
            folder = fetch([*_DESCRIPTIONS, *more, *_LEGACY])
    except Exception as error:  # its errors have no base class common to all versions
        raise InputError(
            f"{repository} is not an existing path, and could not be fetched from the model hub: "
            f"{first_line(error)}"
        ) from error
    return folder, folder.name


def read_model_type(repository: str, revision: str | None = None) -> str | None:
    """Return the `model_type` of a model on the hub, or None if that cannot be told."""
    import huggingface_hub

    try:
        path = huggingface_hub.hf_hub_download(repository, "config.json", revision=revision)
        found = read_json(Path(path)).get("model_type")
    except Exception:  # its errors have no base class common to all versions
        return None
    return found if isinstance(found, str) else None
