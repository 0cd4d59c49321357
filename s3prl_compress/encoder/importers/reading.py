"""Reading foreign files without running any code of theirs."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...common.errors import InputError

CONVERTER = "python -m s3prl.upstream.hubert.convert FILE --output_dir DIR"
"""s3prl's command for original fairseq files; wav2vec2's has `wav2vec2` in place of `hubert`."""


def fairseq_refused(path: Path, found: str) -> InputError:
    """Return the error for an original fairseq file; `found` says how it was recognised."""
    return InputError(
        f"{path} {found}: original fairseq files are not read; convert it where fairseq is "
        f"installed with `{CONVERTER}` (or s3prl.upstream.wav2vec2.convert) and give the result"
    )


def read_pickle(path: Path) -> Any:
    """Read a file of `torch.save` that holds nothing but tensors and plain values.

    Raises:
        InputError: it is broken, or it would need classes of other packages.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unsupported = re.search(r"GLOBAL (\S+)", str(error))
        if unsupported is None:
            raise InputError(f"{path} is not a checkpoint of torch, or is broken") from error
        name = unsupported[1]
        if name.split(".")[0] in ("fairseq", "omegaconf", "argparse"):
            raise fairseq_refused(path, f"holds objects of the class {name}") from error
        raise InputError(
            f"{path} holds objects of the class {name}, and running foreign code to read them is "
            f"refused; save plain tensors only (an original fairseq file: `{CONVERTER}`)"
        ) from error
    except (KeyError, IndexError, EOFError) as error:  # how torch's reader meets other files
        raise InputError(f"{path} is not a checkpoint of torch, or is broken") from error
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read by torch: {first_line(error)}") from error


def is_lightning(path: Path) -> bool:
    """Say whether PyTorch Lightning wrote a file; nothing in it is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return any(b"pytorch-lightning_version" in archive.read(name) for name in pickles)
    except (zipfile.BadZipFile, OSError):
        return False


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; InputError where it is truncated or something else."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is broken or no safetensors file: {first_line(error)}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; InputError where it is something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object")
    return content


def tensors_only(content: Any, where: str) -> dict[str, Tensor]:
    """Return `content` if it is a dictionary of tensors by name."""
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise InputError(f"{where} is no dictionary of tensors by name")
    for name, value in content.items():
        # A pickled view can repeat one number a billion times; a copy would take the memory.
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise InputError(f"{where}: tensor {name} is larger than what is stored of it")
    return dict(content)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
