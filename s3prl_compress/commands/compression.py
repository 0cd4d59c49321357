"""From one checkpoint to a smaller one on disk, with the counts before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..encoder import SpeechEncoder, cost, load, save
from ..errors import InputError
from ..methods import MethodInfo, available, compress
from .console import table


def compress_to(
    source: str | Path | SpeechEncoder,
    folder: Path,
    method: str,
    settings: Mapping[str, str],
    device: str,
) -> dict[str, Any]:
    """Compress `source`, write the result to `folder`, and return counts before and after.

    `settings` are texts as they were typed; see `typed`.
    """
    find_method(method)
    values = {name: typed(text) for name, text in settings.items()}
    encoder = source if isinstance(source, SpeechEncoder) else load(source, device=device)
    smaller = compress(encoder, method, **values)
    save(smaller, folder)
    before, after = cost(encoder).model_dump(), cost(smaller).model_dump()
    return {
        **after,
        "before": before,
        "method": method,
        "settings": smaller.provenance.steps[-1].settings,
        "output": str(folder),
    }


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
