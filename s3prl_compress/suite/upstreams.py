"""The upstreams of a suite: loaded, randomly initialised or compressed, and cached on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..common.errors import InputError
from ..common.extras import require_extra
from ..common.files import write_atomically
from ..encoder import SpeechEncoder, named_shape, random_encoder
from ..encoder.exported.runtimes import EXTRAS
from ..encoder.exporters import ERROR_LIMIT, ExportOptions, find_export_target
from ..encoder.exporters.runtime import RuntimeTarget
from ..encoder.serialization import STORED_TYPES
from ..methods import available
from ..methods.calibration_audio import export_speech
from ..version import __version__
from .models import ENCODERS, Model, ModelKind, kind_of_model, kind_of_source
from .suite_file import ExportEntry, UpstreamEntry


def check_entry(entry: UpstreamEntry, kind: ModelKind[Any]) -> None:
    """Check an entry as far as possible without loading or making anything.

    Args:
        entry: the suite's description of the upstream.
        kind: of the model that it describes.

    Raises:
        InputError: an unknown shape, method or number format, an invalid setting, or a runtime
            that is not installed; the message names the entry.
    """
    try:
        if entry.random is not None:
            named_shape(entry.random.shape)
        if entry.method is not None:
            kind.check_settings(entry.method, entry.settings)
        if entry.export is not None:
            _check_export(entry.export, kind)
    except InputError as error:
        raise InputError(f"upstream {entry.name}: {error}") from error


def make_upstream(
    entry: UpstreamEntry, base: Model | None, folder: Path, device: str
) -> tuple[Model, bool]:
    """Return an entry's model on the CPU, and whether it was cached.

    A random or compressed model is stored in `folder/<name>`, an exported one also in
    `folder/<name>.onnx`, with a description of how it was made in `<name>.json` beside it. It is
    made again if the base, the method, its version or its settings have changed; an exported one
    also if the package's version or the runtime have.

    Args:
        entry: the suite's description of the upstream.
        base: the model to compress; None if the entry has no base.
        folder: cache folder of all upstreams of the suite.
        device: torch device on which a method computes.

    Raises:
        InputError: the source, shape, method or a setting cannot be used.
    """
    if entry.source is not None:
        return load_upstream(entry, folder), False
    kind = ENCODERS if base is None else kind_of_model(base)
    spec = upstream_spec(entry, None if base is None else kind.fingerprint(base), kind)
    checkpoint, card = Path(upstream_source(entry, folder)), folder / f"{entry.name}.json"
    cached = _load_cached(checkpoint, card, spec)
    if cached is not None:
        return cached, True
    # A card must never describe another checkpoint: it goes first and comes back last.
    if entry.export is not None:
        card.unlink(missing_ok=True)
        model = _export(entry.export, base, checkpoint)
    else:
        model = _make(entry, base, folder, device)
        card.unlink(missing_ok=True)
        kind.save(model, checkpoint, STORED_TYPES[entry.stored_as])
    if entry.stored_as != "float32":
        model = kind.load(str(checkpoint), None)  # rounded, as every later cell will load it
    text = json.dumps({"recipe": spec, "sha256": kind.fingerprint(model)}, indent=2)
    write_atomically(card, text + "\n")
    return model, False


def upstream_source(entry: UpstreamEntry, folder: Path) -> str:
    """Return the source, checkpoint folder or exported file from which an upstream is loaded."""
    if entry.source is not None:
        return entry.source
    suffix = ".onnx" if entry.export is not None and entry.export.format == "onnx" else ""
    return str(folder / f"{entry.name}{suffix}")


def load_upstream(entry: UpstreamEntry, folder: Path) -> Model:
    """Load the model of an entry that names a source, or that has been made already."""
    source = upstream_source(entry, folder)
    model: Model = kind_of_source(source).load(source, entry.normalize)
    return model


def upstream_spec(
    entry: UpstreamEntry, base: str | None, kind: ModelKind[Any] = ENCODERS
) -> dict[str, Any]:
    """Return everything that determines the weights of an upstream, ready for JSON.

    Audio and teachers are identified by their content, not by their path, so that a folder made on
    one machine is valid on another.

    Args:
        entry: the suite's description of a random, compressed or exported upstream.
        base: fingerprint of the model that it is made from.
        kind: of the model.

    Raises:
        InputError: the method or a setting cannot be used.
    """
    spec: dict[str, Any] = {}
    if entry.stored_as != "float32":
        spec["stored_as"] = entry.stored_as
    if entry.random is not None:
        return spec | {"random": entry.random.model_dump()}
    if entry.export is not None:
        # Converters have no versions of their own, and converting takes seconds.
        return {"version": __version__, "base": base, "export": entry.export.model_dump()}
    assert entry.method is not None  # `UpstreamEntry` allows no other case
    settings = kind.check_settings(entry.method, entry.settings).recorded()
    version = kind.method_version(entry.method)
    if version > 1:  # omitted at 1, so that upstreams made before methods had versions stay valid
        spec["method_version"] = version
    return spec | {"base": base, "method": entry.method, "settings": settings}


def same_spec(written: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Return whether a stored specification equals that of `upstream_spec`.

    Settings are compared under their present names, and the package's version only where it counts
    now, so that an upstream made by an earlier version stays complete.
    """
    if "version" not in spec:
        written = {key: value for key, value in written.items() if key != "version"}
    if "method" in spec and written.get("method") == spec["method"]:
        config = available()[spec["method"]].config
        written = {**written, "settings": config.with_present_names(written["settings"])}
    return written == spec


def _make(entry: UpstreamEntry, base: Model | None, folder: Path, device: str) -> Model:
    if entry.random is not None:
        return random_encoder(named_shape(entry.random.shape), entry.random.seed).eval()
    assert base is not None  # `UpstreamEntry` allows no other case
    assert entry.method is not None
    settings, work = dict(entry.settings), folder / f"{entry.name}.work"
    if entry.method in available() and "work" in available()[entry.method].config.model_fields:
        settings.setdefault("work", work)  # an interrupted training resumes from here
    kind = kind_of_model(base)
    smaller = kind.compress(base.to(device), entry.method, settings)
    shutil.rmtree(work, ignore_errors=True)
    made: Model = kind.ready(smaller)
    return made


def _check_export(export: ExportEntry, kind: ModelKind[Any]) -> None:
    if kind is not ENCODERS:
        raise InputError(
            "export: writes encoders only; write Whisper's by `s3prl-compress export --format "
            "checkpoint`, and give that folder as source"
        )
    target = find_export_target(export.format)
    target.check_dtype(export.dtype)
    assert isinstance(target, RuntimeTarget)  # as all formats that the suite's file allows
    require_extra(EXTRAS[target.runtime], f"export to {export.format}")


def _export(export: ExportEntry, base: Model | None, output: Path) -> Model:
    """Write the base for another runtime, and return the exported model."""
    if not isinstance(base, SpeechEncoder):
        raise InputError("export: only encoders with weights can be exported")
    limit = ERROR_LIMIT if export.error_limit is None else export.error_limit
    speech = export_speech(minimum_samples=base.shape.minimum_samples)
    options = ExportOptions(dtype=export.dtype, speech=speech, error_limit=limit)
    find_export_target(export.format).write(base, output, options)
    model: Model = ENCODERS.load(str(output), None)
    return model


def _load_cached(checkpoint: Path, card: Path, spec: dict[str, Any]) -> Model | None:
    """Return the stored model if it was made to this specification and is unchanged."""
    try:
        stored = json.loads(card.read_text(encoding="utf-8"))
        if not same_spec(stored["recipe"], spec):
            return None
        kind = kind_of_source(checkpoint)
        model: Model = kind.load(str(checkpoint), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return model if kind.fingerprint(model) == stored["sha256"] else None
