"""Recognition of Whisper models, which `s3prl_compress.whisper` reads.

It is kept apart from that package, which imports transformers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from ...common.errors import InputError
from ..checkpoint import checkpoint_format
from .hub import is_hub_id, read_model_type
from .reading import pickle_mentions, read_json

WHISPER_FORMAT: Literal["s3prl_compress.whisper"] = "s3prl_compress.whisper"
"""Format of the Whisper folders of this package."""


def is_whisper(source: str | Path) -> bool:
    """Say whether a source is a Whisper model, intact or damaged.

    Of a hub id only `config.json` is downloaded. What cannot be read is not one.

    Args:
        source: a folder of this package or of transformers, a file of openai's whisper, or a
            hub id.
    """
    name, path = str(source), Path(source)
    if os.path.isdir(path):
        if checkpoint_format(path) == WHISPER_FORMAT:
            return True
        try:
            return read_json(path / "config.json").get("model_type") == "whisper"
        except InputError:
            return False
    if os.path.exists(path):
        return path.suffix == ".pt" and pickle_mentions(path, b"n_audio_state")
    return is_hub_id(name) and read_model_type(name) == "whisper"


def is_openai_whisper(content: Any) -> bool:
    """Say whether the content of a file of torch is that of openai's whisper."""
    return isinstance(content, dict) and {"dims", "model_state_dict"} <= content.keys()
