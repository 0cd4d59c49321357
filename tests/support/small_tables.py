"""Small corpora of tones in the layouts of speaker identification and emotion recognition."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3prl_compress.tasks.er.prepare import prepare_emotions
from s3prl_compress.tasks.sid.prepare import prepare_speakers

from .tables import emotion_rows, speaker_rows, write_table


@pytest.fixture(scope="session")
def speaker_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven speakers: 35 clips for training, 14 for dev, 21 for test."""
    folder = tmp_path_factory.mktemp("tones of speakers")
    return write_table(folder, speaker_rows(folder))


@pytest.fixture(scope="session")
def tiny_speakers(speaker_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_speakers(speaker_table, tmp_path_factory.mktemp("speakers"))


@pytest.fixture(scope="session")
def emotion_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 clips in five sessions: a fold trains on 51, with 13 for dev and 16 for test."""
    folder = tmp_path_factory.mktemp("tones of emotions")
    return write_table(folder, emotion_rows(folder))


@pytest.fixture(scope="session")
def tiny_emotions(emotion_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_emotions(emotion_table, tmp_path_factory.mktemp("emotions"))
