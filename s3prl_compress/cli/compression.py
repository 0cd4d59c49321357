"""Compress a checkpoint on disk, and count parameters and operations before and after."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..common.command_result import table
from ..common.errors import InputError
from ..common.files import write_atomically
from ..common.json_text import parse_json
from ..common.method_config import MethodConfig
from ..encoder import SpeechEncoder, cost, load_unless_loaded, normalization_note, save
from ..encoder.exported import refuse_exported
from ..methods import MethodInfo, available, check_settings, compress
from ..training.processes import is_main, local_device
from ..training.state import FACTS_FILE, read_facts
from .compression_recipes import CompressionStep
from .listing import setting_helps

WORK = ".work"
"""Suffix of the folder beside the output from which an interrupted method resumes."""

PART_HELP = (
    "For Whisper models only: the layers to compress, one of encoder, decoder (with its "
    "cross-attention), both (default: both). sparsity counts over the whole model in any case."
)

HISTORY_FILE = "training.json"
"""File in the checkpoint folder with loss, sparsity, learning rate and duration of each stage."""


def compress_to(
    source: str | Path | SpeechEncoder,
    folder: Path,
    steps: Sequence[CompressionStep],
    settings: Mapping[str, str],
    device: str,
    normalize: bool | None = None,
) -> dict[str, Any]:
    """Compress `source`, write the result to `folder`, and return counts before and after.

    Args:
        source: an encoder, or a source that `load` accepts.
        folder: folder of the new checkpoint. Training state is kept in `folder`.work until the
            checkpoint is written.
        steps: the methods, each applied to the result of the one before. If a later one takes a
            teacher and none is given, the teacher is `source`.
        settings: values as typed by the user, see `parse_setting`. Each applies to every method
            that has the setting, and overrides the one in `steps`.
        device: torch device to compute on; with several processes each uses a GPU of its own.
        normalize: whether waveforms are normalised; overrides what `source` says and is stored in
            the new checkpoint.

    Raises:
        InputError: the source, a method or a setting cannot be used.
    """
    values = {name: parse_setting(text) for name, text in settings.items()}
    work = folder.with_name(folder.name + WORK)
    chain = [
        (name, own | _work_setting(name, own, work / f"{number}_{name}"))
        for number, (name, own) in enumerate(
            assign_settings(steps, values, [find_method(step.method).config for step in steps])
        )
    ]
    place = local_device(torch.device(device))
    if not isinstance(source, SpeechEncoder):
        refuse_exported(source)
    encoder = load_unless_loaded(source, device=place, normalize=normalize)
    assert isinstance(encoder, SpeechEncoder)  # no other upstream gets here
    for name, own in chain[1:]:
        if "teacher" in find_method(name).config.model_fields:
            own.setdefault("teacher", encoder)
    for name, own in chain:
        # Also reads audio and teachers, so that mistakes show before hours of work.
        check_settings(name, own).recorded()
    smaller = encoder
    for name, own in chain:
        smaller = compress(smaller, name, **own)
    if is_main():
        save(smaller, folder)
        _keep_histories(work, folder)
        shutil.rmtree(work, ignore_errors=True)
    before, after = cost(encoder).model_dump(), cost(smaller).model_dump()
    first, *others = smaller.provenance.steps[-len(chain) :]
    return {
        **after,
        "before": before,
        "method": first.method,
        "settings": first.settings,
        "then": [{"method": step.method, "settings": step.settings} for step in others],
        "output": str(folder),
        "normalize": smaller.normalize,
        "notes": [
            note for note in (normalization_note(smaller), _type_note(encoder, folder)) if note
        ],
    }


def chained_settings(names: Sequence[str]) -> dict[str, str | None]:
    """Return the settings of several methods with their help texts, the first method's first.

    The text is None for former names of settings, which are accepted without being shown.
    """
    helps: dict[str, str | None] = {}
    for name in names:
        config = find_method(name).config
        former = dict.fromkeys(config.former_names())
        helps = setting_helps(config) | former | helps
    if not any(find_method(name).learns for name in names):
        helps["part"] = PART_HELP
    return helps


def assign_settings(
    steps: Sequence[CompressionStep],
    values: Mapping[str, Any],
    configs: Sequence[type[MethodConfig]],
) -> list[tuple[str, dict[str, Any]]]:
    """Return each method with its own settings, updated by those of `values` that it has.

    Settings that no method has go to the first one, whose validation rejects them.

    Args:
        steps: the methods with their own settings.
        values: values that the user typed.
        configs: the class of settings of each method.
    """
    accepted = [config.model_fields.keys() | config.former_names().keys() for config in configs]
    unknown = {key for key in values if not any(key in names for names in accepted)}
    dealt = []
    for number, (step, names) in enumerate(zip(steps, accepted, strict=True)):
        own = {
            key: value
            for key, value in values.items()
            if key in names or (number == 0 and key in unknown)
        }
        # A typed setting replaces the recipe's, whichever of its names either of them has.
        former = configs[number].former_names()
        replaced = {former.get(key, key) for key in own}
        kept = {
            key: value
            for key, value in step.settings.items()
            if former.get(key, key) not in replaced
        }
        dealt.append((step.method, kept | own))
    return dealt


def _work_setting(name: str, own: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Return the setting `work` if the method has it and the user did not set it."""
    wanted = "work" in find_method(name).config.model_fields and "work" not in own
    return {"work": folder} if wanted else {}


def _type_note(before: SpeechEncoder, folder: Path) -> str | None:
    """Say why the file may have grown."""
    if before.stored_as == "float32":
        return None
    return (
        f"the given model's file is in {before.stored_as}, the new one in float32; to convert it: "
        f"s3prl-compress export {folder} --format checkpoint --dtype {before.stored_as} "
        "--output DIR"
    )


def _keep_histories(work: Path, folder: Path) -> None:
    """Write the measurements of the training stages to `training.json` beside the weights."""
    stages = {
        str(path.parent.parent.relative_to(work)): read_facts(path.parent)
        for path in sorted(work.rglob(FACTS_FILE))
    }
    if stages:
        write_atomically(folder / HISTORY_FILE, json.dumps(stages, indent=1) + "\n")


def find_method(name: str) -> MethodInfo:
    """Return a method by its name.

    Raises:
        InputError: there is no method of this name.
    """
    methods = available()
    if name not in methods:
        raise InputError(f"no method {name!r}; there are: {', '.join(methods)}")
    return methods[name]


def parse_setting(text: str) -> Any:
    """Return the value of a setting as typed: null, a JSON list or object, or the text itself.

    Numbers remain text: pydantic converts them to the type of the setting.

    Raises:
        InputError: a list or object is not valid JSON.
    """
    if text.lower() in ("null", "none"):
        return None
    if text[:1] in ("[", "{"):
        try:
            return parse_json(text)
        except ValueError as error:
            raise InputError(f"{text}: not valid JSON ({error})") from error
    return text


def comparison(data: Mapping[str, Any]) -> str:
    """Return the counts before and after as a table."""
    keys = ("parameters", "nonzero_parameters", "macs_32", "bytes")
    rows = [
        (
            key.replace("_", " "),
            f"{data['before'][key]:,}",
            f"{data[key]:,}",
            f"{data[key] / data['before'][key] - 1:+.1%}",
        )
        for key in keys
    ]
    return table(rows, ("", "before", "after", "change"))
