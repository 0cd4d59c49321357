"""The tokenizer and the feature extractor of a Whisper model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..common.errors import InputError
from ..encoder.importers.hub import is_hub_id
from ..encoder.importers.reading import first_line
from .checkpoint import KEPT_FILES, kept_files
from .model import Whisper

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, WhisperFeatureExtractor

_EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")
_TEXT_FILES = ("tokenizer.json", "merges.txt")
"""A tokenizer has one of these at least; a vocab.json alone cannot split words."""


def load_tokenizer(whisper: Whisper, source: str | None, name: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model: its own, or else that of the model it was made from.

    Args:
        whisper: the model, whose kept files are looked through first.
        source: folder or hub id to take the tokenizer from instead; None: as described above.
        name: of the model, for messages.

    Raises:
        InputError: there is none, it is damaged, or it belongs to another vocabulary.
    """
    base = whisper.provenance.base
    if source is not None:
        tokenizer = _of(source, f"tokenizer {source}")
    elif _is_complete(whisper.files):
        tokenizer = _read(whisper.files, name)
    elif _is_complete(_files_of(base)) or is_hub_id(base):
        tokenizer = _of(base, f"{name}: the tokenizer of its base {base}")
    else:
        raise InputError(
            f"{name}: no tokenizer in it, nor in its base {base}; name that of the same model on "
            "the hub (--tokenizer openai/whisper-...), or copy its tokenizer.json into the folder"
        )
    end = whisper.model.generation_config.eos_token_id
    if tokenizer.eos_token_id != end or max(tokenizer.get_vocab().values()) >= (
        whisper.shape.vocabulary
    ):
        raise InputError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens with the end at "
            f"{tokenizer.eos_token_id}, but the model {whisper.shape.vocabulary} with the end at "
            f"{end}: it is that of another model"
        )
    return tokenizer


def feature_extractor(whisper: Whisper, name: str) -> WhisperFeatureExtractor:
    """Return the feature extractor of a model; openai's own if no file describes another.

    Raises:
        InputError: its file is damaged, or it makes another number of mel bins than the model
            takes.
    """
    from transformers import WhisperFeatureExtractor

    files = {key: whisper.files[key] for key in _EXTRACTOR_FILES if key in whisper.files}
    bins = whisper.shape.mel_bins
    if not files:
        return WhisperFeatureExtractor(feature_size=bins)
    extractor = _from_files(WhisperFeatureExtractor, files, f"{name}: the feature extractor")
    if extractor.feature_size != bins:
        raise InputError(
            f"{name}: its feature extractor makes {extractor.feature_size} mel bins, but the model "
            f"takes {bins}; take the file of the same model"
        )
    return extractor


def _of(source: str, where: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder or of a model on the hub."""
    if Path(source).is_dir():
        files = _files_of(source)
        if not _is_complete(files):
            raise InputError(f"{where}: the folder has no {' or '.join(_TEXT_FILES)}")
        return _read(files, where)
    if not is_hub_id(source):
        raise InputError(f"{where}: no such folder, and not a hub id")
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(source, allow_patterns=list(KEPT_FILES))
    except Exception as error:  # its errors have no base class common to all versions
        raise InputError(
            f"{where}: could not be fetched from the model hub: {first_line(error)}"
        ) from error
    return _read(kept_files(Path(folder)), where)


def _read(files: Mapping[str, bytes], where: str) -> PreTrainedTokenizerBase:
    import transformers

    # The fast one, under the name that transformers 4 and 5 have for it.
    kind = transformers.WhisperTokenizerFast  # type: ignore[attr-defined]
    return cast("PreTrainedTokenizerBase", _from_files(kind, files, f"{where}: the tokenizer"))


def _from_files(kind: Any, files: Mapping[str, bytes], where: str) -> Any:
    """Let a class of transformers read files, which it takes from folders only."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        try:
            return kind.from_pretrained(folder)
        except Exception as error:  # those of tokenizers have no common class
            raise InputError(f"{where} cannot be read: {first_line(error)}") from error


def _files_of(source: str) -> dict[str, bytes]:
    folder = Path(source)
    return kept_files(folder) if folder.is_dir() else {}


def _is_complete(files: Mapping[str, bytes]) -> bool:
    return any(name in files for name in _TEXT_FILES)
