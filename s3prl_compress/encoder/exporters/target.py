"""The interface of an export target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch

from ..model import SpeechEncoder


class ExportTarget(ABC):
    """A form in which an encoder can be written to disk."""

    name: ClassVar[str]
    """Value of `export --format`."""
    summary: ClassVar[str]
    """One line for `ls formats`."""

    @abstractmethod
    def check_output(self, folder: Path) -> None:
        """Check, before any work, that an export may be written to `folder`.

        Raises:
            InputError: `folder` holds something else than an earlier export of this form.
        """

    @abstractmethod
    def write(
        self, encoder: SpeechEncoder, folder: Path, *, dense: bool, dtype: torch.dtype
    ) -> None:
        """Write `encoder` to `folder`, completely or not at all.

        Args:
            encoder: the encoder to write.
            folder: new, empty, or an earlier export.
            dense: write compressed layers as the dense layers that compute the same; has no effect
                where the form can hold them as they are.
            dtype: number format of the stored weights, torch.float32 or torch.float16.

        Raises:
            InputError: the form cannot hold this encoder.
        """

    def notes(self, encoder: SpeechEncoder) -> tuple[str, ...]:
        """Return what a user of the export has to know, one sentence each."""
        return ()

    @abstractmethod
    def next_step(self, encoder: SpeechEncoder, folder: Path) -> str:
        """Return how to load or inspect the export, in one line."""
