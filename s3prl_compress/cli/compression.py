"""From one checkpoint to a smaller one on disk, with the counts before and after."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..common.command_result import table
from ..common.errors import InputError
from ..common.files import write_atomically
from ..encoder import SpeechEncoder, cost, load_unless_loaded, normalization_note, save
from ..methods import MethodInfo, available, check_settings, compress
from ..training.processes import is_main, local_device
from ..training.state import FACTS_FILE, read_facts
from .listing import setting_helps
from .recipes import Step

WORK = ".work"
"""Behind an output's name: the folder from which a learned method that was stopped goes on."""

HISTORY_FILE = "training.json"
"""In the checkpoint folder: loss, sparsity and learning rate of every stage, and its seconds."""


def compress_to(
    source: str | Path | SpeechEncoder,
    folder: Path,
    steps: Sequence[Step],
    settings: Mapping[str, str],
    device: str,
    normalize: bool | None = None,
) -> dict[str, Any]:
    """Compress `source`, write the result to `folder`, and return counts before and after.

    Args:
        source: an encoder, or what can be loaded as one.
        folder: of the checkpoint; what was learned is kept in `folder`.work until it is written.
        steps: the methods, each for what the one before made. Where a later one takes a teacher
            and is given none, that is `source`.
        settings: texts as they were typed; see `typed`. They count for every method that has
            them, before its own in `steps`.
        device: where it is computed; of several processes each has a GPU of its own.
        normalize: whether waveforms are normalised, in place of what `source` says; stored in the
            new checkpoint.
    """
    values = {name: typed(text) for name, text in settings.items()}
    work = folder.with_name(folder.name + WORK)
    chain = [
        (name, own | _work_of(name, own, work / f"{number}_{name}"))
        for number, (name, own) in enumerate(_dealt_out(steps, values))
    ]
    place = local_device(torch.device(device))
    encoder = load_unless_loaded(source, device=place, normalize=normalize)
    assert isinstance(encoder, SpeechEncoder)  # no third-party upstream gets here
    for name, own in chain[1:]:
        if "teacher" in find_method(name).config.model_fields:
            own.setdefault("teacher", encoder)
    for name, own in chain:
        check_settings(name, own).recorded()  # audio and teachers too, before hours of work
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
        "notes": [note for note in (normalization_note(smaller),) if note],
    }


def chained_settings(names: Sequence[str]) -> dict[str, str]:
    """Return the settings of several methods and their help, the first method's first."""
    helps: dict[str, str] = {}
    for name in names:
        config = find_method(name).config
        # Former names are accepted without being shown.
        former = dict.fromkeys(config.former_names(), argparse.SUPPRESS)
        helps = setting_helps(config) | former | helps
    return helps


def _dealt_out(
    steps: Sequence[Step], values: Mapping[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """Return each method with its settings and those of `values` that it has.

    The first one gets those that none has, to complain of them.
    """
    configs = [find_method(step.method).config for step in steps]
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


def _work_of(name: str, own: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Return the setting `work` for a method that has it and was given none."""
    wanted = "work" in find_method(name).config.model_fields and "work" not in own
    return {"work": folder} if wanted else {}


def _keep_histories(work: Path, folder: Path) -> None:
    """Write what the stages of learning measured beside the weights, as `training.json`."""
    stages = {
        str(path.parent.parent.relative_to(work)): read_facts(path.parent)
        for path in sorted(work.rglob(FACTS_FILE))
    }
    if stages:
        write_atomically(folder / HISTORY_FILE, json.dumps(stages, indent=1) + "\n")


def find_method(name: str) -> MethodInfo:
    """Return a method by its name.

    Raises:
        InputError: there is none of this name.
    """
    methods = available()
    if name not in methods:
        raise InputError(f"no method {name!r}; there are: {', '.join(methods)}")
    return methods[name]


def typed(text: str) -> Any:
    """Return what a typed setting means: null, a JSON list or object, or the text itself.

    Numbers stay text: pydantic reads them by the setting's own type.
    """
    if text.lower() in ("null", "none"):
        return None
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise InputError(f"{text}: is not JSON ({error}); correct it") from error
    return text


def comparison(figures: Mapping[str, Any]) -> str:
    """Return counts before and after as a table."""
    keys = ("parameters", "nonzero_parameters", "macs_32", "bytes")
    rows = [
        (
            key.replace("_", " "),
            f"{figures['before'][key]:,}",
            f"{figures[key]:,}",
            f"{figures[key] / figures['before'][key] - 1:+.1%}",
        )
        for key in keys
    ]
    return table(rows, ("", "before", "after", "change"))
