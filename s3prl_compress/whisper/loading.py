"""`load`, which reads all supported formats of Whisper models."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import torch

from ..common.errors import InputError
from ..common.files import sha256
from ..encoder.bundled import BUNDLED
from ..encoder.checkpoint import checkpoint_format
from ..encoder.importers.hub import download, is_hub_id
from ..encoder.importers.reading import read_json, read_pickle
from ..encoder.importers.whisper_source import is_openai_whisper
from ..encoder.provenance import Provenance
from .checkpoint import FORMAT, KEPT_FILES, kept_files, load_folder
from .model import Whisper, build_whisper
from .openai_pt import read_openai
from .transformers_folder import read_transformers

ACCEPTED = (
    "a Whisper folder of this package; a transformers folder or hub id of a Whisper model; a .pt "
    "file of openai's whisper"
)


def load(
    source: str | Path,
    *,
    device: str | torch.device | None = None,
    revision: str | None = None,
) -> Whisper:
    """Load a Whisper model in float32 and in eval mode.

    Args:
        source: a checkpoint folder of this package, a transformers folder, a hub id
            ("openai/whisper-large-v3"), or a `.pt` file of openai's whisper.
        device: device for the weights; None: the CPU.
        revision: branch, tag or commit of a hub id.

    Raises:
        InputError: the source cannot be loaded; the message says what is wrong with which file.
    """
    name, path, commit = str(source), Path(source), None
    if not os.path.exists(path):
        if name in BUNDLED:
            raise InputError(f"{name}: not a Whisper model; accepted are {ACCEPTED}")
        if not is_hub_id(name):
            raise InputError(f"{name}: no such file or folder; accepted are {ACCEPTED}")
        path, commit = download(name, revision, KEPT_FILES)
    whisper = (
        load_folder(path) if checkpoint_format(path) == FORMAT else _import(path, name, commit)
    )
    return whisper.to(device or "cpu")


def _import(path: Path, name: str, commit: str | None) -> Whisper:
    """Read another project's model."""
    if path.is_dir():
        config = read_json(path / "config.json")
        if config.get("model_type") != "whisper":
            raise InputError(
                f"{path}/config.json: model_type is {config.get('model_type')!r}; accepted are "
                f"{ACCEPTED}"
            )
        shape, settings, tensors, sources = read_transformers(path, config)
        files = kept_files(path)
    else:
        content = read_pickle(path)
        if not is_openai_whisper(content):
            raise InputError(f"{path} is not a Whisper model; accepted are {ACCEPTED}")
        shape, settings, tensors, files = read_openai(path, content)
        sources = (path,)
    libraries = ("torch", "transformers")
    provenance = Provenance(
        base=name,
        base_revision=commit,
        base_sha256=sha256(*sources),
        packages={library: importlib.metadata.version(library) for library in libraries},
    )
    return build_whisper(shape, settings, tensors, files, provenance, name)
