from __future__ import annotations

from pathlib import Path

import pytest
from transformers import WhisperForConditionalGeneration

from s3prl_compress.whisper import Whisper, load

from .small import small_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of transformers."""
    return small_folder(tmp_path_factory.mktemp("whisper") / "hf")


@pytest.fixture(scope="session")
def dense(folder: Path) -> Whisper:
    """Its model; tests must not change it."""
    return load(folder)


@pytest.fixture(scope="session")
def reference(folder: Path) -> WhisperForConditionalGeneration:
    """The same model as transformers loads it; tests must not change it."""
    return WhisperForConditionalGeneration.from_pretrained(folder).eval()
