"""Corpora of tones in the layouts of VoxCeleb1, IEMOCAP and LibriSpeech: a few clips each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def write_speakers(root: Path, speakers: int, clips: int = 4, seconds: float = 0.4) -> Path:
    """Write VoxCeleb1's layout: the first two clips of a speaker train, then dev, then test."""
    lines = []
    for speaker in range(speakers):
        for clip in range(clips):
            name = f"id{10001 + speaker}/video/{clip:05d}.wav"
            part = "test" if clip == 0 else "dev"
            _tone(root / "voxceleb1" / part / "wav" / name, speaker, seconds)
            lines.append(f"{(1, 1, 2, 3)[min(clip, 3)]} {name}\n")
    (root / "iden_split.txt").write_text("".join(lines[::-1]))
    classes = [f"id{10001 + speaker}" for speaker in range(speakers)]
    _card(root, "sid", "speakers", classes)
    return root


def write_emotions(root: Path, clips: int = 2) -> Path:
    """Write IEMOCAP's layout: five sessions with as many clips of each emotion."""
    emotions = ("neu", "hap", "ang", "sad")
    sessions: dict[int, list[dict[str, str]]] = {}
    for session in range(1, 6):
        sessions[session] = []
        for number in range(clips * len(emotions)):
            emotion = number % len(emotions)
            path = f"Session{session}/sentences/wav/d{session}/u{session}_{number}.wav"
            _tone(root / path, emotion, 0.3 + 0.02 * number)
            entry = {"path": path, "label": emotions[emotion], "speaker": f"s{session}"}
            sessions[session].append(entry)
    for fold in sessions:
        train = [entry for other in sessions if other != fold for entry in sessions[other]]
        for part, entries in (("train", train), ("test", sessions[fold])):
            file = root / "meta_data" / f"Session{fold}" / f"{part}_meta_data.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            labels = {name: number for number, name in enumerate(emotions)}
            file.write_text(json.dumps({"labels": labels, "meta_data": entries}))
    _card(root, "er", "sessions", emotions)
    return root


def write_transcripts(root: Path, texts: Sequence[str], train: int, others: int = 3) -> Path:
    """Write LibriSpeech's layout; the texts take turns, each with a tone of its own."""
    for split, count in (("train-clean-100", train), ("dev-clean", others), ("test-clean", others)):
        labels = _write_clips(root / split / "7" / "1", texts, count)
        lines = [f"{name} {text}\n" for name, text in labels]
        (root / split / "7" / "1" / "7-1.trans.txt").write_text("".join(lines))
    _card(root, "asr", "transcripts", ())
    return root


def write_phonemes(root: Path, labels: Sequence[str], train: int, others: int = 3) -> Path:
    """Write the same recordings with lists of phonemes; the inventory is that of the labels."""
    (root / "phonemes").mkdir(parents=True)
    for split, count in (("train-clean-100", train), ("dev-clean", others), ("test-clean", others)):
        lines = [
            f"{name} {label}\n"
            for name, label in _write_clips(root / split / "7" / "1", labels, count)
        ]
        (root / "phonemes" / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    _card(
        root, "pr", "phonemes", sorted({phoneme for label in labels for phoneme in label.split()})
    )
    return root


def _write_clips(folder: Path, labels: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Write tones of growing lengths; return the names of utterances and their labels."""
    named = []
    for number in range(count):
        index = number % len(labels)
        name = f"7-1-{number:04d}"
        _tone(folder / f"{name}.flac", index, 0.5 + 0.05 * (number // 2))
        named.append((name, labels[index]))
    return named


def _card(root: Path, task: str, variant: str, classes: Sequence[str]) -> None:
    card = {
        "format": "s3prl_compress.corpus",
        "version": 1,
        "task": task,
        "variant": variant,
        "name": f"small {task}",
        "generated": True,
        "classes": classes,
        "source": {},
    }
    (root / "corpus.json").write_text(json.dumps(card))


def _tone(path: Path, index: int, seconds: float) -> None:
    random = np.random.default_rng(index)
    time = np.arange(int(RATE * seconds)) / RATE
    wave = 0.3 * np.sin(2 * np.pi * 200.0 * 1.5**index * time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave + 0.01 * random.standard_normal(len(time)), RATE)
