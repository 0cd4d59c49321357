"""The counts, shape and history of an encoder that `inspect` shows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ..encoder import (
    LEADERBOARD_COUNTS,
    NAMED_SHAPES,
    EncoderShape,
    SpeechEncoder,
    cost,
    fingerprint,
    load,
)
from ..encoder.exported import ExportedEncoder, exported_runtime, load_exported
from ..encoder.shape import LINEARS


def inspect_model(model: str, device: str = "cpu") -> dict[str, Any]:
    """Return an encoder's counts, shape and history under stable keys, ready for JSON.

    Args:
        model: a source that `load` accepts, or the name of a shape. A shape needs no weights, and
            the result includes the SUPERB leaderboard's counts, which contain the pre-training
            head.
        device: torch device on which the weights are loaded.
    """
    if model in NAMED_SHAPES and not Path(model).exists():
        shape = NAMED_SHAPES[model]
        board = LEADERBOARD_COUNTS.get(model, {})
        return {
            "model": model,
            **cost(shape).model_dump(),
            **{f"board_{key}": round(value) for key, value in board.items()},
            **shape_facts(shape),
            "weights": False,
        }
    if exported_runtime(model) is not None:
        return exported_facts(model, load_exported(model))
    encoder = load(model, device=device)
    return {
        "model": model,
        **cost(encoder).model_dump(),
        **shape_facts(encoder.shape),
        "weights": True,
        **encoder_facts(encoder),
    }


def shape_facts(shape: EncoderShape) -> dict[str, Any]:
    """Return the main sizes of a shape: layers, heads, FFN units, channels, kinds of linears."""
    layers = shape.layers
    kinds = Counter(getattr(layer, name).kind for layer in layers for name in LINEARS)
    return {
        "family": shape.family,
        "hidden": shape.hidden,
        "layers": len(layers),
        "hidden_states": None if shape.hidden_states is None else list(shape.hidden_states),
        "heads": [len(layer.heads) for layer in layers],
        "qk_sizes": [layer.qk_size for layer in layers],
        "vo_sizes": [layer.vo_size for layer in layers],
        "ffn_units": [layer.ffn for layer in layers],
        "conv_channels": [conv.width for conv in shape.convs],
        "linears": dict(kinds),
        **({} if shape.front_end is None else shape.front_end.model_dump(mode="json")),
    }


def encoder_facts(encoder: SpeechEncoder) -> dict[str, Any]:
    """Return the properties of an encoder with weights: input, head, history and fingerprint."""
    history = encoder.provenance
    return {
        "normalize": encoder.normalize,
        "ctc_vocabulary": None if encoder.head is None else len(encoder.head.vocabulary),
        "base": history.base,
        "base_revision": history.base_revision,
        "random_weights": history.random_weights,
        "methods": list(history.chain()),
        "sha256": fingerprint(encoder),
        "provenance": history.model_dump(mode="json"),
    }


def exported_facts(model: str, exported: ExportedEncoder) -> dict[str, Any]:
    """Return the counts, shape, runtime and history of an exported model."""
    config = exported.config
    upstream = exported.describe(exported.name)
    assert upstream.cost is not None
    assert upstream.runtime is not None
    return {
        "model": model,
        **upstream.cost.model_dump(),
        **shape_facts(config.shape),
        "weights": True,
        "runtime": upstream.runtime.name,
        "runtime_version": upstream.runtime.version,
        "dtype": config.dtype,
        "states": config.states,
        "state_error": None if config.error is None else f"{config.error.mean:.3g}",
        "measured_on": None if config.error is None else config.error.audio,
        "normalize": config.normalize,
        "ctc_vocabulary": None if config.head is None else len(config.head.vocabulary),
        "base": upstream.base,
        "random_weights": upstream.random_weights,
        "methods": list(upstream.methods),
        "sha256": upstream.checkpoint_sha256,
        "encoder_sha256": config.encoder_sha256,
        "provenance": config.provenance.model_dump(mode="json"),
    }


def inspection_rows(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the result of `inspect_model` as pairs of name and text for a terminal."""
    rows = []
    for key, value in data.items():
        if key == "provenance" or value is None:
            continue
        if isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, int):
            text = f"{value:,}"
        elif isinstance(value, dict):
            text = ", ".join(f"{name} {count}" for name, count in value.items())
        elif isinstance(value, list):
            text = _run_lengths(value)
        else:
            text = str(value)
        rows.append((key.replace("_", " "), text))
    return rows


def _run_lengths(values: list[Any]) -> str:
    """Return a list with repeated neighbours contracted: `12 x 3072`."""
    runs: list[tuple[Any, int]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return ", ".join(f"{count} x {value}" if count > 1 else str(value) for value, count in runs)
