"""Small corpora of tones in the layouts of speaker, emotion and intent tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3prl_compress.tasks.er.prepare import prepare_emotions
from s3prl_compress.tasks.ic.prepare import prepare_intents
from s3prl_compress.tasks.sid.prepare import prepare_speakers

from .tables import emotion_rows, intent_rows, speaker_rows, write_table


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


@pytest.fixture(scope="session")
def intent_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five intents of ten values in all: 45 clips for training, 15 for dev, 30 for test."""
    folder = tmp_path_factory.mktemp("tones of intents")
    return write_table(folder, intent_rows(folder))


@pytest.fixture(scope="session")
def tiny_intents(intent_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_intents(intent_table, tmp_path_factory.mktemp("intents"))
