"""Reading files of other projects without running code from them."""

from __future__ import annotations

import pickle
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ...common.errors import InputError
from ...common.json_text import parse_json

CONVERTER = "python -m s3prl.upstream.hubert.convert FILE --output_dir DIR"
"""s3prl's converter of original fairseq files; for wav2vec2, replace `hubert` by `wav2vec2`."""


_MOST_SETTINGS = 100_000
"""Most values of a dictionary of settings, which a pickle may repeat without end."""


def fairseq_refused(path: Path, reason: str) -> InputError:
    """Return the error for an original fairseq file; `reason` says how it was recognised."""
    return InputError(
        f"{path} {reason}: original fairseq files are not supported; convert it with "
        f"`{CONVERTER}` (or s3prl.upstream.wav2vec2.convert), which needs fairseq, and give the "
        "result"
    )


def read_pickle(path: Path) -> Any:
    """Read a file of `torch.save` that holds only tensors and plain values.

    Raises:
        InputError: it is broken, or contains objects of other classes.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unsupported = re.search(r"GLOBAL (\S+)", str(error))
        if unsupported is None:
            raise InputError(f"{path} is not a checkpoint of torch, or is damaged") from error
        name = unsupported[1]
        if name.split(".")[0] in ("fairseq", "omegaconf", "argparse"):
            raise fairseq_refused(path, f"holds objects of the class {name}") from error
        raise InputError(
            f"{path} holds objects of the class {name}; reading them could run code, so it is "
            f"refused; save plain tensors only (an original fairseq file: `{CONVERTER}`)"
        ) from error
    except (KeyError, IndexError, EOFError) as error:  # raised by torch for files of other kinds
        raise InputError(f"{path} is not a checkpoint of torch, or is damaged") from error
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read by torch: {first_line(error)}") from error


def is_lightning(path: Path) -> bool:
    """Say whether PyTorch Lightning wrote a file, without unpickling it."""
    return pickle_mentions(path, b"pytorch-lightning_version")


def pickle_mentions(path: Path, text: bytes) -> bool:
    """Say whether a text occurs in the pickle of a file of torch, without unpickling it."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return any(text in _beginning(archive, name) for name in pickles)
    # zipfile lets through what damaged names, sizes and compressed data lead to.
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error):
        return False


def _beginning(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a part of an archive, up to the length of any real pickle of tensors."""
    with archive.open(name) as part:
        return part.read(1 << 26)


def read_safetensors(path: Path, wanted: Callable[[str], bool] | None = None) -> dict[str, Tensor]:
    """Read a safetensors file, or the tensors in it that are `wanted` by their names.

    Raises:
        InputError: it is truncated, or of another kind.
    """
    try:
        if wanted is None:
            return load_file(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or not a safetensors file: {first_line(error)}"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold a JSON object")
    return content


def tensors_only(content: Any, where: str) -> dict[str, Tensor]:
    """Return `content` as a dictionary of tensors by name.

    Raises:
        InputError: it is something else, or a tensor claims more elements than are stored.
    """
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise InputError(f"{where} is not a dictionary of tensors by name")
    for name, value in content.items():
        if value.layout != torch.strided or value.device.type != "cpu":
            raise InputError(f"{where}: tensor {name} is sparse or holds no numbers")
        # A pickled view can repeat one number a billion times; copying it would exhaust the memory.
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise InputError(f"{where}: tensor {name} claims more elements than are stored")
    return dict(content)


def plain_settings(content: Any, where: str) -> dict[str, Any]:
    """Return `content` as a dictionary of settings: numbers and texts, and lists of them.

    Raises:
        InputError: it is something else, or holds tensors, which behave like no number in
            comparisons.
    """
    if not isinstance(content, dict):
        raise InputError(f"{where} is a {type(content).__name__}, not a dictionary")
    waiting = list(content.values())
    for _ in range(_MOST_SETTINGS):
        if not waiting:
            return dict(content)
        value = waiting.pop()
        if isinstance(value, Tensor):
            raise InputError(f"{where} holds a tensor where settings are expected")
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
    raise InputError(f"{where} holds more than {_MOST_SETTINGS} values")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
