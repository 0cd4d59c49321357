"""Export as a checkpoint folder of this package."""

from __future__ import annotations

from pathlib import Path

import torch

from ..checkpoint import check_checkpoint_output
from ..loading import save
from ..model import SpeechEncoder
from .target import ExportTarget


class CheckpointTarget(ExportTarget):
    """A checkpoint folder, which holds any encoder as it is."""

    name = "checkpoint"
    summary = "checkpoint folder of this package (config.json, model.safetensors); any encoder"

    def check_output(self, folder: Path) -> None:
        """See `ExportTarget.check_output`."""
        check_checkpoint_output(folder)

    def write(
        self, encoder: SpeechEncoder, folder: Path, *, dense: bool, dtype: torch.dtype
    ) -> None:
        """See `ExportTarget.write`."""
        save(encoder, folder, dtype=dtype)

    def next_step(self, encoder: SpeechEncoder, folder: Path) -> str:
        """See `ExportTarget.next_step`."""
        return f"next: s3prl-compress inspect {folder}"


TARGET = CheckpointTarget()
