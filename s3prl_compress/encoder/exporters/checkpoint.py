"""Export as a checkpoint folder of this package."""

from __future__ import annotations

from pathlib import Path

from ..checkpoint import check_checkpoint_output
from ..loading import save
from ..model import SpeechEncoder
from ..serialization import STORED_TYPES
from .target import ExportOptions, ExportTarget


class CheckpointTarget(ExportTarget):
    """A checkpoint folder, which holds any encoder as it is."""

    name = "checkpoint"
    summary = "checkpoint folder of this package (config.json, model.safetensors); any encoder"

    def check_output(self, output: Path) -> None:
        """See `ExportTarget.check_output`."""
        check_checkpoint_output(output)

    def write(self, encoder: SpeechEncoder, output: Path, options: ExportOptions) -> None:
        """See `ExportTarget.write`."""
        save(encoder, output, dtype=STORED_TYPES[options.dtype])

    def next_step(self, encoder: SpeechEncoder, output: Path) -> str:
        """See `ExportTarget.next_step`."""
        return f"next: s3prl-compress inspect {output}"


TARGET = CheckpointTarget()
