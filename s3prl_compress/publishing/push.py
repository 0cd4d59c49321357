"""Uploading a checkpoint folder to the Hugging Face hub."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import InputError
from ..common.files import folder_atomically
from ..encoder import load
from ..encoder.checkpoint import checkpoint_format
from .card import CARD_FILE
from .names import check_name

_FILES = frozenset(
    (
        CARD_FILE,
        "LICENSE",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "modeling_s3prl_compress.py",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
        "vocab.json",
    )
)
"""All that is uploaded: no pickles, and nothing that happens to lie in the folder."""


@dataclass(frozen=True)
class Pushed:
    """The result of an upload."""

    address: str
    """Web address of the model."""
    revision: str
    """Commit on the hub."""


def files_to_push(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the files of a checkpoint folder that are uploaded, and the names of the others.

    Raises:
        InputError: the folder is not an intact checkpoint, or has no model card.
    """
    if checkpoint_format(folder) is None:
        raise InputError(f"{folder}: not a checkpoint folder of s3prl_compress")
    load(folder)  # a damaged folder is not published
    if not (folder / CARD_FILE).is_file():
        raise InputError(
            f"{folder}: has no model card; write one with `s3prl-compress card {folder} "
            "--records DIR --name OWNER/NAME`"
        )
    every = sorted(folder.iterdir())
    files = [path for path in every if path.name in _FILES and path.is_file()]
    return files, [path.name for path in every if path not in files]


def copy_files(files: Sequence[Path], output: Path) -> None:
    """Write what would be uploaded into a new or empty folder.

    Raises:
        InputError: the folder holds something.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: exists and is not empty; name a new folder")
    with folder_atomically(output) as temporary:
        for path in files:
            shutil.copy2(path, temporary / path.name)


def push(files: Sequence[Path], repository: str, *, public: bool = False) -> Pushed:
    """Upload a checkpoint folder as one commit.

    Args:
        files: those of the folder, from `files_to_push`.
        repository: hub id, "owner/name"; it is created if there is none.
        public: whether a new repository is public.

    Raises:
        InputError: the hub refuses, or cannot be reached.
    """
    import huggingface_hub

    check_name(repository)
    hub = huggingface_hub.HfApi()
    try:
        hub.create_repo(repository, private=not public, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            folder_path=files[0].parent,
            allow_patterns=[path.name for path in files],
            commit_message="Upload by s3prl_compress",
        )
    except Exception as error:  # its errors have no base class common to all versions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{repository}: could not be uploaded ({reason}); log in with `hf auth login`, and "
            "check that the name is yours"
        ) from error
    return Pushed(f"https://huggingface.co/{repository}", str(commit.oid))
