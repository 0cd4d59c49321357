"""Importers: checkpoints of other projects, recognised by their content, as encoders.

The package comes with importers for

- folders and hub models of transformers: HuBERT, wav2vec2, WavLM, bare, pre-trained or with CTC;
- torchaudio's and DPHuBERT's `{"config", "state_dict"}`;
- s3prl's converted `.pt` files of these families;
- Whisper models of transformers, openai and this package, of which they take the encoder.

`register_importer` adds one. Pickles are read with `weights_only=True`, without exception.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...common.errors import InputError
from ..bundled import BUNDLED
from ..checkpoint import is_checkpoint, load_folder
from ..model import SpeechEncoder

# Importing a module registers its importer; the order is that in which importers are asked.
from . import s3prl_pt, torchaudio_pt, transformers_folder, whisper_encoder  # noqa: F401
from .hub import download, is_hub_id
from .imported import ImportedCheckpoint, build_encoder
from .reading import is_lightning, read_json, read_pickle
from .registry import IMPORTERS, Importer, Source, find_importer, register_importer
from .whisper_source import is_whisper

__all__ = [
    "ImportedCheckpoint",
    "Importer",
    "Source",
    "import_checkpoint",
    "is_hub_id",
    "is_whisper",
    "register_importer",
]

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


def import_checkpoint(
    source: str | Path, revision: str | None = None, normalize: bool | None = None
) -> SpeechEncoder:
    """Read a checkpoint that another project wrote.

    Args:
        source: a folder, a file, or a hub id ("organisation/name").
        revision: branch, tag or commit; for hub ids only.
        normalize: whether waveforms are normalised; None: as the checkpoint says.

    Returns:
        The encoder on the CPU in float32, with the CTC head of a fine-tuned model.

    Raises:
        InputError: there is no such checkpoint, its model or one of its settings is not
            supported, or a file is broken. The message names what is there.
    """
    name, path = str(source), Path(source)
    commit = None
    if not os.path.exists(path):  # pathlib raises for names that are too long
        if not is_hub_id(name):
            # Also for hub ids whose owner has the name of a folder here.
            like_id = (
                len(path.parts) == 2 and not path.is_absolute() and os.path.exists(path.parent)
            )
            why = f" in {path.parent}, so not looked up on the hub" if like_id else ""
            raise InputError(f"{name}: no such file or folder{why}; accepted are {accepted()}")
        path, commit = download(name, revision)
        if is_checkpoint(path):
            return load_folder(path)
    return build_encoder(_read(path), base=name, revision=commit, normalize=normalize)


def accepted() -> str:
    """Return what `load` takes, as the end of an error message."""
    formats = "; ".join(importer.formats for importer in IMPORTERS)
    return f"a folder of this package; {formats}; and the bundled {', '.join(BUNDLED)}"


def _read(path: Path) -> ImportedCheckpoint:
    source = _open_folder(path) if path.is_dir() else _open_file(path)
    importer = find_importer(source)
    if importer is None:
        raise InputError(f"{_describe(source)}; accepted are {accepted()}")
    return importer.read(source)


def _open_folder(path: Path) -> Source:
    config = path / "config.json"
    if not config.is_file():
        raise InputError(f"the folder {path} has no config.json; accepted are {accepted()}")
    return Source(path, read_json(config))


def _open_file(path: Path) -> Source:
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} is a file ending in {path.suffix!r}; accepted are {accepted()}")
    if is_lightning(path):
        raise InputError(
            f"{path} is a checkpoint of PyTorch Lightning, with the trainer's state in it; run "
            "DPHuBERT's save_final_ckpt.py on it and give the file that it writes"
        )
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; accepted are {accepted()}")
    return Source(path, content)


def _describe(source: Source) -> str:
    """Say what an unknown checkpoint holds."""
    if source.is_folder:
        return f"{source.path}/config.json: model_type is {source.content.get('model_type')!r}"
    names = ", ".join([str(key) for key in source.content][:4]) or "nothing"
    more = " ..." if len(source.content) > 4 else ""
    return f"{source.path} holds a dictionary with {names}{more}"
