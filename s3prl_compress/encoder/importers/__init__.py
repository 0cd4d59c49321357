"""Checkpoints of other projects, recognised by their content, as encoders of ours.

- folders and hub models of transformers: HuBERT, wav2vec2, WavLM, bare, pre-trained or with CTC;
- s3prl's converted `.pt` files of these families;
- torchaudio's and DPHuBERT's `{"config", "state_dict"}`.

Pickles are read with `weights_only=True`, without exception.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...common.errors import InputError
from ..bundled import SHIPPED
from ..checkpoint import is_checkpoint, load_folder
from ..model import SpeechEncoder
from . import s3prl_pt, torchaudio_pt
from .hub import download, is_hub_id
from .imported import ImportedCheckpoint, build_encoder
from .reading import is_lightning, read_pickle
from .transformers_folder import read_folder

__all__ = ["import_foreign"]

ACCEPTED = (
    "a folder of this package, a transformers folder or hub id of a hubert, wav2vec2 or wavlm "
    "model, an s3prl-converted .pt, a torchaudio or DPHuBERT file with `config` and `state_dict`, "
    f"and the shipped {', '.join(SHIPPED)}"
)
_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


def import_foreign(
    source: str | Path, revision: str | None = None, normalize: bool | None = None
) -> SpeechEncoder:
    """Read a checkpoint that another project wrote.

    Args:
        source: a folder, a file, or a hub id ("organisation/name").
        revision: branch, tag or commit; for hub ids only.
        normalize: in place of what the checkpoint says of its input.

    Returns:
        The encoder on the CPU in float32, with the CTC head of a fine-tuned model.

    Raises:
        InputError: nothing there, a model or a setting that is not supported, or a broken file;
            the message names what was found.
    """
    name, path = str(source), Path(source)
    commit = None
    if not path.exists():
        if not is_hub_id(name):
            # Also for hub ids whose owner has the name of a folder here.
            like_id = len(path.parts) == 2 and not path.is_absolute() and path.parent.exists()
            why = f" in {path.parent}, so not looked up on the hub" if like_id else ""
            raise InputError(f"{name}: no such file or folder{why}; accepted are {ACCEPTED}")
        path, commit = download(name, revision)
        if is_checkpoint(path):
            return load_folder(path)
    return build_encoder(_read(path), base=name, revision=commit, normalize=normalize)


def _read(path: Path) -> ImportedCheckpoint:
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"the folder {path} has no config.json; accepted are {ACCEPTED}")
        return read_folder(path)
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} is a file ending in {path.suffix!r}; accepted are {ACCEPTED}")
    if is_lightning(path):
        raise InputError(
            f"{path} is a checkpoint of PyTorch Lightning, with the trainer's state in it; run "
            "DPHuBERT's save_final_ckpt.py on it and give the file that it writes"
        )
    content = read_pickle(path)
    for module in (torchaudio_pt, s3prl_pt):
        if isinstance(content, dict) and module.recognise(content):
            return module.read_content(content, path)
    raise InputError(f"{path} holds {_describe(content)}; accepted are {ACCEPTED}")


def _describe(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    names = [str(key) for key in content][:4]
    return f"a dictionary with {', '.join(names) or 'nothing'}{' ...' if len(content) > 4 else ''}"
