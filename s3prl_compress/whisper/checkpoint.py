"""The checkpoint folder of a Whisper model of any shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from ..common.errors import InputError
from ..encoder.checkpoint import (
    WEIGHTS_FILE,
    check_replaceable,
    check_tensors,
    read_config_as,
    read_tensors,
    write_folder,
)
from ..encoder.importers.whisper_source import WHISPER_FORMAT
from ..encoder.provenance import Provenance
from ..encoder.serialization import StoredType, stored_tensors, stored_type
from .model import SETTINGS, TIED, Whisper, build_whisper, empty_model
from .shape import WhisperShape

FORMAT = WHISPER_FORMAT

KEPT_FILES = (
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
    "added_tokens.json",
    "special_tokens_map.json",
)
"""Files of transformers that are kept as they are: generation config, feature extractor and
tokenizer. transformers reads them from our folder, too."""


class WhisperConfigFile(BaseModel):
    """The content of `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["s3prl_compress.whisper"] = WHISPER_FORMAT
    format_version: Literal[1] = 1
    shape: WhisperShape
    settings: dict[str, Any] = Field(max_length=len(SETTINGS))
    """Fields of transformers' config that say nothing about sizes: special tokens, activation."""
    stored_as: StoredType = "float32"
    """Type of the weights on disk. In memory they are float32 after loading."""
    provenance: Provenance


def save(whisper: Whisper, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a model atomically as a checkpoint folder, and return its path.

    The folder holds `config.json` and `model.safetensors` of this package, and the generation
    config, feature extractor and tokenizer as they were read. It never contains a pickle.

    Args:
        whisper: the model.
        folder: an older checkpoint of this name is replaced.
        dtype: torch.float16 halves the file and rounds the weights.

    Raises:
        InputError: `folder` exists and is not a checkpoint of this package, a weight is too large
            for float16 or not finite, or the weights do not match the shape. Nothing is written
            then.
    """
    folder = Path(folder)
    check_replaceable(folder)
    config = WhisperConfigFile(
        shape=whisper.shape,
        settings=whisper.settings(),
        provenance=whisper.provenance,
        stored_as=stored_type(dtype),
    )
    state, where = whisper.stored_state(), f"{folder}: not written"
    expected = empty_model(whisper.shape, config.settings, where).state_dict()
    del expected[TIED]
    check_tensors(expected, {name: tuple(own.shape) for name, own in state.items()}, where)
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{where}: tensor {name} holds NaN or infinite weights")
    return write_folder(folder, config, stored_tensors(state, dtype), whisper.files)


def load_folder(folder: str | Path) -> Whisper:
    """Read a checkpoint folder of this package, strictly.

    Raises:
        InputError: the config is invalid, the weights are damaged or not those that it describes,
            or a kept file is damaged.
    """
    folder = Path(folder)
    config = read_config_as(WhisperConfigFile, FORMAT, folder)
    unknown = sorted(set(config.settings) - set(SETTINGS))
    if unknown:
        raise InputError(f"{folder}/config.json: settings: no such key {unknown[0]!r}")
    expected = empty_model(config.shape, config.settings, str(folder)).state_dict()
    del expected[TIED]
    tensors = read_tensors(folder / WEIGHTS_FILE, expected, config.stored_as)
    whisper = build_whisper(
        config.shape, config.settings, tensors, kept_files(folder), config.provenance, str(folder)
    )
    whisper.stored_as = config.stored_as
    return whisper


def kept_files(folder: Path) -> dict[str, bytes]:
    """Return the content of those of `KEPT_FILES` that a folder has."""
    return {name: (folder / name).read_bytes() for name in KEPT_FILES if (folder / name).is_file()}
