"""`compress` and `inspect` for Whisper models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.command_result import CommandResult, table
from ..encoder import macs
from ..whisper import (
    Counts,
    Part,
    Whisper,
    check_settings,
    compress,
    count,
    find_method,
    load,
    save,
    sparsities,
)
from ..whisper.cost import encoder_shape
from .compression import assign_settings, parse_setting
from .compression_recipes import CompressionStep
from .inspection import inspection_rows


def compress_whisper_to(
    source: str,
    folder: Path,
    steps: Sequence[CompressionStep],
    settings: Mapping[str, str],
    device: str,
) -> CommandResult:
    """Compress a Whisper model, write it, and return counts and sparsities.

    Args:
        source: a source that `whisper.load` accepts.
        folder: folder of the new checkpoint.
        steps: the methods, each applied to the result of the one before.
        settings: values as typed by the user. Each applies to every method that has the setting.
        device: torch device to compute on.

    Raises:
        InputError: the source, a method or a setting cannot be used.
    """
    values = {name: parse_setting(text) for name, text in settings.items()}
    configs = [find_method(step.method).config for step in steps]
    chain = assign_settings(steps, values, configs)
    for method, own in chain:  # before the model is read
        check_settings(method, own)
    whisper = smaller = load(source, device=device)
    for method, own in chain:
        smaller = compress(smaller, method, **own)
    save(smaller, folder)
    before, after = count(whisper), count(smaller)
    done = smaller.provenance.steps[-len(chain) :]
    parts = {step.settings["part"] for step in done}
    part: Part = parts.pop() if len(parts) == 1 else "both"
    reached = sparsities(before, after, part)
    data = {
        "family": "whisper",
        **_figures(after),
        "before": _figures(before),
        "sparsity": reached,
        "part": part,
        "method": done[0].method,
        "settings": done[0].settings,
        "then": [{"method": step.method, "settings": step.settings} for step in done[1:]],
        "output": str(folder),
    }
    linears = "linears" if part == "both" else f"linears of the {part}"
    rows = [
        ("all parameters", before.total, after.total, reached["all_parameters"]),
        (linears, before.linears[part], after.linears[part], reached["linears"]),
        ("encoder", before.encoder, after.encoder, reached["encoder"]),
    ]
    text = table(
        [(name, f"{old:,}", f"{new:,}", f"{share:.1%}") for name, old, new, share in rows],
        ("", "before", "after", "sparsity"),
    )
    return CommandResult(
        data,
        text,
        (
            f"checkpoint: {folder}",
            f'next: s3prl_compress.whisper.load("{folder}").model.generate(input_features)',
        ),
    )


def inspect_whisper(source: str, device: str) -> CommandResult:
    """Return a Whisper model's counts, shape and history.

    Args:
        source: a source that `whisper.load` accepts.
        device: torch device on which the weights are loaded.
    """
    whisper = load(source, device=device)
    data = {
        "model": source,
        **_figures(count(whisper)),
        "encoder_macs_32": macs(encoder_shape(whisper.shape)),
        **_sizes(whisper),
        "base": whisper.provenance.base,
        "base_revision": whisper.provenance.base_revision,
        "random_weights": whisper.provenance.random_weights,
        "methods": list(whisper.provenance.chain()),
        "files": sorted(whisper.files),
        "provenance": whisper.provenance.model_dump(mode="json"),
    }
    return CommandResult(data, table(inspection_rows(data)))


def _figures(counts: Counts) -> dict[str, int]:
    return {
        "parameters": counts.total,
        "encoder_parameters": counts.encoder,
        "linear_parameters": counts.linears["both"],
    }


def _sizes(whisper: Whisper) -> dict[str, Any]:
    """Return the main sizes of a model, by stack."""
    shape = whisper.shape
    data: dict[str, Any] = {
        "family": "whisper",
        "hidden": shape.hidden,
        "vocabulary": shape.vocabulary,
        "mel_bins": shape.mel_bins,
    }
    stacks = {
        "encoder": shape.encoder,
        "decoder": shape.decoder,
        "cross_attention": shape.cross_attention,
    }
    for name, stack in stacks.items():
        data[f"{name}_layers"] = len(stack)
        data[f"{name}_heads"] = [len(layer.heads) for layer in stack]
        data[f"{name}_qk_sizes"] = [layer.qk_size for layer in stack]
        data[f"{name}_vo_sizes"] = [layer.vo_size for layer in stack]
        if name != "cross_attention":
            data[f"{name}_ffn_units"] = [layer.ffn for layer in stack]
    return data
