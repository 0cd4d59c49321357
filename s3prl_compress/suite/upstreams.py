"""A suite's upstreams: loaded, drawn or made smaller, and kept below the output folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..common.errors import InputError
from ..common.files import write_atomically
from ..encoder import SpeechEncoder, fingerprint, load, named_shape, random_encoder, save
from ..methods import available, check_settings, compress
from ..version import __version__
from .recipe import UpstreamEntry

_STORED = {"float32": torch.float32, "float16": torch.float16}


def check_entry(entry: UpstreamEntry) -> None:
    """Find mistakes that show without loading or making anything.

    Raises:
        InputError: a shape, method or setting that cannot be used; it names the entry.
    """
    try:
        if entry.random is not None:
            named_shape(entry.random.shape)
        if entry.method is not None:
            check_settings(entry.method, entry.settings)
    except InputError as error:
        raise InputError(f"upstream {entry.name}: {error}") from error


def make_upstream(
    entry: UpstreamEntry, base: SpeechEncoder | None, folder: Path, device: str
) -> tuple[SpeechEncoder, bool]:
    """Return an entry's encoder on the CPU, and whether it lay there already.

    A random or compressed encoder is kept in `folder/<name>`, and what it was made from in
    `<name>.json` beside it. It is made again when the base, the method, its version, its settings
    or the package's version change.

    Args:
        entry: what to make.
        base: the encoder that it is made from, where it is made from one.
        folder: where to keep them.
        device: where a method computes.

    Raises:
        InputError: a source, shape, method or setting that cannot be used.
    """
    if entry.source is not None:
        return load_upstream(entry, folder), False
    recipe = upstream_recipe(entry, None if base is None else fingerprint(base))
    place, card = folder / entry.name, folder / f"{entry.name}.json"
    kept = _kept(place, card, recipe)
    if kept is not None:
        return kept, True
    encoder = _make(entry, base, folder, device)
    card.unlink(missing_ok=True)
    save(encoder, place, dtype=_STORED[entry.stored_as])
    if entry.stored_as != "float32":
        encoder = load(place)  # what every later cell will find there
    text = json.dumps({"recipe": recipe, "sha256": fingerprint(encoder)}, indent=2)
    write_atomically(card, text + "\n")
    return encoder, False


def upstream_source(entry: UpstreamEntry, folder: Path) -> str:
    """Return what `load` takes for an entry of ours that was made."""
    return entry.source if entry.source is not None else str(folder / entry.name)


def load_upstream(entry: UpstreamEntry, folder: Path) -> SpeechEncoder:
    """Load an encoder of ours that was made, or that a source names."""
    return load(upstream_source(entry, folder), normalize=entry.normalize)


def upstream_recipe(entry: UpstreamEntry, base: str | None) -> dict[str, Any]:
    """Return everything that decides what comes out, ready for JSON.

    `base` is the fingerprint of the encoder that it is made from. Audio and teachers count by
    their content, not by their place, so that a folder made on one machine is good on another.

    Raises:
        InputError: a method or setting that cannot be used.
    """
    recipe: dict[str, Any] = {"version": __version__}
    if entry.random is not None:
        return recipe | {"random": entry.random.model_dump()}
    assert entry.method is not None  # the recipe's own check
    if entry.stored_as != "float32":
        recipe["stored_as"] = entry.stored_as
    settings = check_settings(entry.method, entry.settings).recorded()
    version = available()[entry.method].version
    if version > 1:  # left out at 1, so that what was made before there were versions stays valid
        recipe["method_version"] = version
    return recipe | {"base": base, "method": entry.method, "settings": settings}


def same_recipe(written: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Say whether a card's recipe is the one of `upstream_recipe`.

    Settings count by their present names, so that an upstream that was made before a setting was
    renamed is complete and not made again.
    """
    if "method" in recipe and written.get("method") == recipe["method"]:
        config = available()[recipe["method"]].config
        written = {**written, "settings": config.with_present_names(written["settings"])}
    return written == recipe


def _make(
    entry: UpstreamEntry, base: SpeechEncoder | None, folder: Path, device: str
) -> SpeechEncoder:
    if entry.random is not None:
        return random_encoder(named_shape(entry.random.shape), entry.random.seed).eval()
    assert base is not None  # the recipe's own check
    assert entry.method is not None
    settings, work = dict(entry.settings), folder / f"{entry.name}.work"
    if entry.method in available() and "work" in available()[entry.method].config.model_fields:
        settings.setdefault("work", work)  # what it has learned so far outlives a kill
    smaller = compress(base.to(device), entry.method, **settings)
    shutil.rmtree(work, ignore_errors=True)
    return smaller.to("cpu").eval()


def _kept(place: Path, card: Path, recipe: dict[str, Any]) -> SpeechEncoder | None:
    """Return the encoder that lies there if it was made by this recipe and is unchanged."""
    try:
        written = json.loads(card.read_text(encoding="utf-8"))
        if not same_recipe(written["recipe"], recipe):
            return None
        encoder = load(place)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return encoder if fingerprint(encoder) == written["sha256"] else None
