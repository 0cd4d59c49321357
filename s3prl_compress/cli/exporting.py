"""The options and the output of `export`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from ..common.command_result import CommandResult
from ..common.errors import InputError
from ..common.extras import require_extra
from ..encoder import SpeechEncoder
from ..encoder.exported import StateError
from ..encoder.exported.runtimes import EXTRAS
from ..encoder.exporters import ERROR_LIMIT, ExportOptions, ExportTarget
from ..encoder.exporters.runtime import RuntimeTarget
from ..methods.calibration_audio import export_speech


def check_measurement(target: ExportTarget, **given: Any) -> None:
    """Check the options that concern the measurement, and the packages that an export needs.

    Raises:
        InputError: an option has no meaning for this target or is out of range, or a package is
            missing.
    """
    named = [key.replace("_", "-") for key, value in given.items() if value is not None]
    if named and not target.measures:
        raise InputError(f"format {target.name}: takes no --{', --'.join(named)}; leave that out")
    limit = given["error_limit"]
    if limit is not None and not (math.isfinite(limit) and limit > 0):
        raise InputError(f"error-limit {limit:g}: must be above 0")
    if isinstance(target, RuntimeTarget):
        require_extra(EXTRAS[target.runtime], f"format {target.name}")


def export_options(
    target: ExportTarget,
    encoder: SpeechEncoder,
    dtype: str,
    dense: bool,
    states: Literal["all", "last"] | None,
    audio: str | None,
    error_limit: float | None,
) -> ExportOptions:
    """Return the options of an export, with the speech on which it is measured."""
    return ExportOptions(
        dtype=dtype,
        dense=dense,
        states=states or "all",
        speech=export_speech(encoder, audio) if target.measures else None,
        error_limit=ERROR_LIMIT if error_limit is None else error_limit,
    )


def export_result(
    target: ExportTarget,
    encoder: SpeechEncoder,
    model: str,
    output: Path,
    dtype: str,
    error: StateError | None,
) -> CommandResult:
    """Return what `export` prints: size, error, notes and the next step."""
    files = output.iterdir() if output.is_dir() else (output,)
    size = sum(path.stat().st_size for path in files)
    notes = target.notes(encoder)
    data: dict[str, Any] = {
        "output": str(output),
        "format": target.name,
        "dtype": dtype,
        "bytes": size,
        "notes": list(notes),
    }
    text = f"{model} as {target.name}, {dtype}, {size:,} bytes: {output}"
    if error is not None:
        data["state_error"] = error.model_dump(mode="json")
        text += (
            f"\nrelative error of the hidden states: {error.mean:.2g} "
            f"(worst state {max(error.states):.2g}, last {error.states[-1]:.2g}; limit "
            f"{error.limit:g}), on {error.audio}"
        )
    lines = (*(f"note: {note}" for note in notes), target.next_step(encoder, output))
    return CommandResult(data, text, lines)
