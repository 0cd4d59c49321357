"""The registry of importers: each says which checkpoints it can read, and reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .imported import ImportedCheckpoint


@dataclass(frozen=True)
class Source:
    """A checkpoint on disk, opened far enough to tell which format it has."""

    path: Path
    """A folder with a `config.json`, or a file that torch has read."""
    content: dict[str, Any]
    """A folder's `config.json`, or the top level of a file."""

    @property
    def is_folder(self) -> bool:
        """Whether `content` is that of a folder's `config.json`."""
        return self.path.is_dir()


@dataclass(frozen=True)
class Importer:
    """A reader of one checkpoint format."""

    formats: str
    """The format, for error messages: "an s3prl-converted .pt"."""
    recognise: Callable[[Source], bool]
    """Says whether the checkpoint has this format, without raising."""
    read: Callable[[Source], ImportedCheckpoint]
    """Reads it; raises `InputError` if it is broken or holds an unsupported model."""


IMPORTERS: list[Importer] = []
"""All importers, in the order in which they are asked; `register_importer` adds to it."""


def register_importer(importer: Importer) -> Importer:
    """Add an importer, to be asked after those that are registered already."""
    IMPORTERS.append(importer)
    return importer


def find_importer(source: Source) -> Importer | None:
    """Return the first importer that recognises a checkpoint, or None."""
    return next((importer for importer in IMPORTERS if importer.recognise(source)), None)
