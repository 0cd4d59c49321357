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
from ..encoder.exporters import ERROR_LIMIT, ExportOptions, ExportTarget, export_targets
from ..encoder.exporters.runtime import RuntimeTarget
from ..methods.calibration_audio import export_speech
from ..whisper import is_whisper
from ..whisper import load as load_whisper
from ..whisper.exporters import WhisperTarget, whisper_targets


def check_measurement(target: ExportTarget, **given: Any) -> None:
    """Check the options that concern the measurement, and the packages that an export needs.

    Raises:
        InputError: an option has no meaning for this target or is out of range, or a package is
            missing.
    """
    if not target.measures:
        _check_options(target.name, **given)
    _limit(given["error_limit"])
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
    speech = None
    if target.measures:
        speech = export_speech(audio, minimum_samples=encoder.shape.minimum_samples)
    return ExportOptions(
        dtype=dtype,
        dense=dense,
        states=states or "all",
        speech=speech,
        error_limit=_limit(error_limit),
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
    data, text = _written(model, target.name, output, dtype, error)
    if error is not None:
        text += (
            f"\nrelative error of the hidden states: {error.mean:.2g} "
            f"(worst utterance {error.worst:.2g}, worst state {max(error.states):.2g}, last "
            f"{error.states[-1]:.2g}; limit {error.limit:g}), on {error.audio}"
        )
    data["notes"] = list(notes := target.notes(encoder))
    lines = (*(f"note: {note}" for note in notes), target.next_step(encoder, output))
    return CommandResult(data, text, lines)


def whisper_target(model: str, format: str) -> WhisperTarget | None:
    """Return the format of whole Whisper models in which a model is to be written.

    None where the format is one of encoders: it takes the encoder of a Whisper model, too.
    """
    target = whisper_targets().get(format)
    if target is not None and format in export_targets() and not is_whisper(model):
        return None
    return target


def export_whisper(
    target: WhisperTarget,
    model: str,
    output: Path,
    *,
    dtype: str,
    dense: bool,
    audio: str | None,
    error_limit: float | None,
    **without_meaning: Any,
) -> CommandResult:
    """Write a whole Whisper model, and return what `export` prints.

    Args:
        target: the format.
        model: a source that `whisper.load` accepts.
        output: folder to write.
        dtype: see `WhisperTarget.write`, as for `dense`.
        dense: see there.
        audio: see `export_speech`.
        error_limit: largest error with which the model is written; None: the default.
        without_meaning: options of other formats, all of which must be None.

    Raises:
        InputError: an option has no meaning here, or the model cannot be read or written.
    """
    _check_options(f"{target.name}, of Whisper models", **without_meaning)
    limit = _limit(error_limit)
    target.check(output, dtype)
    whisper = load_whisper(model)
    error = target.write(
        whisper,
        output,
        dtype=dtype,
        dense=dense,
        speech=export_speech(audio),
        error_limit=limit,
        name=model,
    )
    data, text = _written(model, target.name, output, dtype, error)
    encoder, logits = error.states
    text += (
        f"\nrelative error of the encoder's output {encoder:.2g}, of the first token's logits "
        f"{logits:.2g} (limit of the mean {limit:g}), on {error.audio}"
    )
    data["notes"] = list(notes := target.notes(whisper))
    lines = (*(f"note: {note}" for note in notes), target.next_step(output))
    return CommandResult(data, text, lines)


def _check_options(name: str, **given: Any) -> None:
    """Refuse the options of other formats."""
    named = [key.replace("_", "-") for key, value in given.items() if value is not None]
    if named:
        raise InputError(f"format {name}: takes no --{', --'.join(named)}; leave that out")


def _limit(given: float | None) -> float:
    if given is not None and not (math.isfinite(given) and given > 0):
        raise InputError(f"error-limit {given:g}: must be above 0")
    return ERROR_LIMIT if given is None else given


def _written(
    model: str, name: str, output: Path, dtype: str, error: StateError | None
) -> tuple[dict[str, Any], str]:
    """Return the facts of what was written, and the line that says so."""
    files = output.iterdir() if output.is_dir() else (output,)
    size = sum(path.stat().st_size for path in files)
    data: dict[str, Any] = {
        "output": str(output),
        "format": name,
        "dtype": dtype,
        "bytes": size,
        "notes": [],
    }
    if error is not None:
        data["state_error"] = error.model_dump(mode="json")
    return data, f"{model} as {name}, {dtype}, {size:,} bytes: {output}"
