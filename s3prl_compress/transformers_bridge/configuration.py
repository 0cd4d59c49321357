"""A checkpoint folder's config.json as transformers' configuration."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from ..encoder.companions import MODEL_TYPE


class CompressedSpeechConfig(PretrainedConfig):
    """All keys of a checkpoint folder's config.json, as attributes."""

    model_type = MODEL_TYPE

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
