"""Corpora that look like SUPERB's: the same layout, number of files and speakers, but no speech.

A recording is one tone for each class (or a tone for each letter of its transcript) in noise. A few
recordings of each class are made and written as many times as the corpus has files: every file is
one of its own on disk, with its own inode, while contents repeat.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from s3prl_compress.common.files import write_atomically
from s3prl_compress.tasks.er.corpus import FOLDS
from s3prl_compress.tasks.ic.corpus import COLUMNS, LISTS
from s3prl_compress.tasks.ks.corpus import (
    BACKGROUND_FOLDER,
    KS_CLASSES,
    KS_WORDS,
    OFFICIAL_TEST_FOLDER,
    OFFICIAL_TRAIN_FOLDER,
    SILENCE,
    split_of,
)
from s3prl_compress.tasks.pr.lexicon import LEXICONS
from s3prl_compress.tasks.registry import prepare_corpus
from s3prl_compress.tasks.sid.corpus import LISTS as SPEAKER_LISTS
from s3prl_compress.tasks.sid.corpus import (
    SPLIT_NUMBERS,
    VOXCELEB1_SPEAKERS,
    speaker_ids,
)

RATE = 16_000
VARIANTS = 2
"""Different recordings of each class."""
MARKER = "complete.json"
"""Written last: a corpus without it is written again."""
VERSION = 1
"""Part of the marker: raised whenever other files are written."""

OTHER_WORDS = (
    *("bed", "bird", "cat", "dog", "eight", "five", "four", "happy", "house", "marvin"),
    *("nine", "one", "seven", "sheila", "six", "three", "tree", "two", "wow", "zero"),
)
BACKGROUND = (
    *("doing_the_dishes", "dude_miaowing", "exercise_bike"),
    *("pink_noise", "running_tap", "white_noise"),
)
BACKGROUND_SECONDS = 10.0
KS_FILES, KS_SPEAKERS, KS_TESTS = 64_727, 1_881, 3_081

SID_FILES = {"train": 138_361, "dev": 6_904, "test": 8_251}
SID_TEST_SPEAKERS = range(10_270, 10_310)
"""VoxCeleb1's speakers that were downloaded as its test part."""
UTTERANCES_PER_VIDEO = 7

ER_SESSIONS = (1_085, 1_023, 1_151, 1_031, 1_241)
"""Utterances of IEMOCAP's sessions with one of the four labels."""
ER_LABELS = ("neu", "hap", "exc", "ang", "sad")
ER_DIALOGS = 30

LIBRI = {
    "train-clean-100": (28_539, 251, 585),
    "dev-clean": (2_703, 40, 97),
    "test-clean": (2_620, 40, 87),
}
"""Utterances, speakers and, about, chapters."""
WORDS = {
    "ONE": "W AH1 N",
    "TWO": "T UW1",
    "SIX": "S IH1 K S",
    "TEN": "T EH1 N",
    "YES": "Y EH1 S",
    "CAT": "K AE1 T",
    "DOG": "D AO1 G",
    "SUN": "S AH1 N",
}
TEXTS = 128
"""Different transcripts."""

IC_FILES = {"train": (23_132, 77), "dev": (3_118, 10), "test": (3_793, 10)}
"""Utterances and speakers."""
_ROOMS = ("none", "kitchen", "bedroom", "washroom")
_GOODS = ("newspaper", "juice", "socks", "shoes")
INTENTS = [
    *(("change language", to, "none") for to in ("none", "Chinese", "English", "German", "Korean")),
    *(("bring", what, "none") for what in _GOODS),
    *((way, what, "none") for way in ("activate", "deactivate") for what in ("music", "lamp")),
    *((way, "lights", room) for way in ("activate", "deactivate") for room in _ROOMS),
    *((way, "volume", "none") for way in ("increase", "decrease")),
    *((way, "heat", room) for way in ("increase", "decrease") for room in _ROOMS),
]
"""The 31 of Fluent Speech Commands."""


@dataclass
class Writer:
    """Writes recordings below a folder and counts them."""

    root: Path
    scale: float
    range_of_seconds: tuple[float, float]
    files: int = 0
    seconds: float = 0.0
    _folders: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._sound = cache(self._encoded)

    def scaled(self, count: int, least: int) -> int:
        """Return a number of files or speakers at the scale, but at least `least` of them."""
        return max(least, round(self.scale * count))

    def length(self, seed: int) -> float:
        """Return the seconds of a recording."""
        low, high = self.range_of_seconds
        return low + (high - low) * float(np.random.default_rng(seed).random())

    def put(self, place: str, tones: tuple[float, ...], variant: int, suffix: str = ".wav") -> None:
        """Write a recording of tones, each between 0 and 1 (the highest), to `place` + suffix."""
        data, seconds = self._sound(tones, variant % VARIANTS, suffix)
        self.write(place + suffix, data)
        self.files += 1
        self.seconds += seconds

    def write(self, place: str, data: bytes | str) -> None:
        """Write any file."""
        path = self.root / place
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        path.write_bytes(data.encode() if isinstance(data, str) else data)

    def _encoded(self, tones: tuple[float, ...], variant: int, suffix: str) -> tuple[bytes, float]:
        digest = hashlib.sha256(repr((tones, variant)).encode()).digest()
        seed = int.from_bytes(digest[:8], "little")
        seconds = self.length(seed)
        wave = noisy_tones(tones, seconds, np.random.default_rng(seed))
        return encode(wave, suffix), seconds


def noisy_tones(
    tones: Sequence[float], seconds: float, generator: np.random.Generator
) -> np.ndarray:
    """Return tones one after the other in noise, [samples]; from 100 Hz (0) to 6.4 kHz (1)."""
    samples = round(seconds * RATE)
    at = np.arange(samples) * len(tones) // samples
    frequency = 100.0 * 2.0 ** (6.0 * np.asarray(tones))[at]
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    wave: np.ndarray = 0.2 * np.sin(phase) + 0.02 * generator.standard_normal(samples)
    return wave


def encode(wave: np.ndarray, suffix: str) -> bytes:
    """Return an audio file's content: 16 bits, 16 kHz."""
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format=suffix[1:].upper(), subtype="PCM_16")
    return file.getvalue()


def write_keywords(writer: Writer) -> None:
    """Write Speech Commands v0.01 and its test set."""
    words = (*KS_WORDS, *OTHER_WORDS)
    speakers = keyword_speakers(writer.scaled(KS_SPEAKERS, 8))
    for number in range(writer.scaled(KS_FILES, 8 * len(words))):
        turn, word = divmod(number, len(words))
        take, speaker = divmod(turn, len(speakers))
        place = f"{OFFICIAL_TRAIN_FOLDER}/{words[word]}/{speakers[speaker]}_nohash_{take}"
        writer.put(place, (word / len(words),), turn)
    for name in BACKGROUND:
        seed = int.from_bytes(name.encode()[:8], "little")
        noise = noisy_tones([0.0], BACKGROUND_SECONDS, np.random.default_rng(seed))
        writer.write(
            f"{OFFICIAL_TRAIN_FOLDER}/{BACKGROUND_FOLDER}/{name}.wav", encode(noise, ".wav")
        )
    for number in range(writer.scaled(KS_TESTS, 4 * len(KS_CLASSES))):
        take, index = divmod(number, len(KS_CLASSES))
        name = KS_CLASSES[index]
        speaker = "" if name == SILENCE else f"{speakers[take % len(speakers)]}_nohash_"
        tone = 0.0 if name == SILENCE else min(index, len(words) - 1) / len(words)
        writer.put(f"{OFFICIAL_TEST_FOLDER}/{name}/{speaker}{take}", (tone,), take)


def keyword_speakers(count: int) -> list[str]:
    """Return names of speakers; of the first two, one is a dev and one a training speaker."""
    names = [hashlib.sha256(str(number).encode()).hexdigest()[:8] for number in range(40 + count)]
    first = [next(name for name in names if split_of(f"{name}_nohash_0.wav") == "dev")]
    first += [next(name for name in names if split_of(f"{name}_nohash_0.wav") == "train")]
    return [*first, *(name for name in names if name not in first)][:count]


def write_speakers(writer: Writer) -> None:
    """Write VoxCeleb1; every speaker has a training recording at any scale."""
    speakers = speaker_ids(VOXCELEB1_SPEAKERS)
    lines = []
    for split, number in SPLIT_NUMBERS.items():
        least = len(speakers) if split == "train" else 16
        for index in range(writer.scaled(SID_FILES[split], least)):
            take, speaker = divmod(index, len(speakers))
            name = speakers[speaker]
            part = "test" if int(name[2:]) in SID_TEST_SPEAKERS else "dev"
            video, utterance = divmod(take, UTTERANCES_PER_VIDEO)
            stem = f"{name}/{split:-<5}{video:06}/{utterance + 1:05}"
            lines.append(f"{number} {stem}.wav\n")
            writer.put(f"{part}/wav/{stem}", (speaker / len(speakers),), take)
    writer.write(SPEAKER_LISTS[0], "".join(sorted(lines)))


def write_emotions(writer: Writer) -> None:
    """Write IEMOCAP as it is delivered: recordings, and the annotators' labels by dialog."""
    for fold, count in zip(FOLDS, ER_SESSIONS, strict=True):
        lines: dict[str, list[str]] = {}
        for number in range(writer.scaled(count, 4 * len(ER_LABELS))):
            turn, label = divmod(number, len(ER_LABELS))
            dialog = f"Ses{fold:02}{'FM'[turn % 2]}_impro{turn % ER_DIALOGS:02}"
            own = lines.setdefault(dialog, [])
            name = f"{dialog}_{'FM'[number % 2]}{len(own):03}"
            own.append(f"[0.0000 - 1.0000]\t{name}\t{ER_LABELS[label]}\t[2.5000, 2.5000, 2.5000]\n")
            place = f"Session{fold}/sentences/wav/{dialog}/{name}"
            writer.put(place, (label / len(ER_LABELS),), turn)
        for dialog, own in lines.items():
            place = f"Session{fold}/dialog/EmoEvaluation/{dialog}.txt"
            head = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
            writer.write(place, head + "".join(own))


def write_librispeech(writer: Writer) -> None:
    """Write LibriSpeech's three parts as flac, and the two lexicons that phonemes come from."""
    texts = transcripts(writer)
    for part, (count, speakers, chapters) in LIBRI.items():
        many = writer.scaled(speakers, 2)
        lines: dict[str, list[str]] = {}
        for number in range(writer.scaled(count, 24)):
            turn, speaker = divmod(number, many)
            chapter, utterance = divmod(turn, -(-count // chapters))
            folder = f"{part}/{speaker + 1000}/{chapter}"
            own = lines.setdefault(folder, [])
            name = f"{speaker + 1000}-{chapter}-{utterance:04}"
            text, tones = texts[number % len(texts)]
            own.append(f"{name} {text}\n")
            writer.put(f"{folder}/{name}", tones, 0, ".flac")
        for folder, own in lines.items():
            _, speaker_name, chapter_name = folder.split("/")
            writer.write(f"{folder}/{speaker_name}-{chapter_name}.trans.txt", "".join(own))
    lexicon = "".join(f"{word}\t{phonemes}\n" for word, phonemes in WORDS.items())
    for name in LEXICONS:
        writer.write(name, lexicon)


def transcripts(writer: Writer) -> list[tuple[str, tuple[float, ...]]]:
    """Return texts with a tone for each letter, about as many as the shortest recording holds."""
    generator = np.random.default_rng(0)
    most = max(1, int(4 * writer.range_of_seconds[0]))
    found = []
    for _ in range(TEXTS):
        words = generator.choice(list(WORDS), size=generator.integers(1, most + 1))
        text = " ".join(words)
        tones = tuple(0.0 if letter == " " else (ord(letter) - 64) / 27 for letter in text)
        found.append((text, tones))
    return found


def write_intents(writer: Writer) -> None:
    """Write Fluent Speech Commands."""
    for split, (count, speakers) in IC_FILES.items():
        many = writer.scaled(speakers, 2)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["", *COLUMNS[:2], "transcription", *COLUMNS[2:]])
        for number in range(writer.scaled(count, 2 * len(INTENTS))):
            turn, index = divmod(number, len(INTENTS))
            speaker = f"{split}{turn % many:03}"
            stem = f"wavs/speakers/{speaker}/{number:06}"
            words = " ".join(INTENTS[index])
            table.writerow([number, f"{stem}.wav", speaker, words, *INTENTS[index]])
            writer.put(stem, (index / len(INTENTS),), turn)
        writer.write(LISTS[split], text.getvalue())


WRITERS: dict[str, Callable[[Writer], None]] = {
    "ks": write_keywords,
    "sid": write_speakers,
    "er": write_emotions,
    "asr": write_librispeech,
    "pr": write_librispeech,
    "ic": write_intents,
}
PREPARED = ("er", "pr")
"""Tasks whose official corpus goes through `prepare`."""


@dataclass(frozen=True)
class Rehearsed:
    """A corpus that was written."""

    data: Path
    """What `score --data` takes."""
    source: Path
    """Folder of the recordings."""
    files: int
    """Recordings."""
    seconds: float
    """Of audio."""
    written: float
    """Seconds that writing took; 0 where it was complete already."""
    prepared: float
    """Seconds that `prepare` took, which checks an unchanged corpus again."""


def write_corpus(task: str, folder: Path, scale: float, seconds: tuple[float, float]) -> Rehearsed:
    """Write a task's corpus below a folder, unless it is complete there, and prepare it."""
    source, prepared_at, marker = folder / "corpus", folder / "prepared", folder / MARKER
    identity = {"version": VERSION, "task": task, "scale": scale, "seconds": list(seconds)}
    facts, written = _read_marker(marker, identity), 0.0
    if facts is None:
        marker.unlink(missing_ok=True)
        for unfinished in (source, prepared_at):
            shutil.rmtree(unfinished, ignore_errors=True)
        started = time.perf_counter()
        writer = Writer(source, scale, seconds)
        WRITERS[task](writer)
        written = time.perf_counter() - started
        facts = {"files": writer.files, "audio": writer.seconds}
        write_atomically(marker, json.dumps(identity | facts) + "\n")
    started, data = time.perf_counter(), source
    if task in PREPARED:
        data = prepare_corpus(task, source, prepared_at)
    prepared = time.perf_counter() - started if task in PREPARED else 0.0
    return Rehearsed(data, source, int(facts["files"]), facts["audio"], written, prepared)


def _read_marker(path: Path, identity: dict[str, object]) -> dict[str, float] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    same = all(found.get(key) == value for key, value in identity.items())
    return {key: found[key] for key in ("files", "audio")} if same else None
