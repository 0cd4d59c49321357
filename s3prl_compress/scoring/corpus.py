"""A keyword-spotting corpus on disk, read exactly as s3prl's `speech_commands` downstream does."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from ..errors import InputError
from ..reporting import records
from .audio import SAMPLING_RATE, check_audio, read_wave
from .faults import Faults

__all__ = [
    "KS_CLASSES",
    "Item",
    "KeywordCorpus",
    "check_corpus",
    "open_corpus",
    "read_wave",
    "split_of",
]

SILENCE = "_silence_"
UNKNOWN = "_unknown_"
BACKGROUND_FOLDER = "_background_noise_"
KS_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
KS_CLASSES = (*KS_WORDS, UNKNOWN, SILENCE)
"""In the order of s3prl's `CLASSES`: the index of a class is the index of its logit."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASSES_OF_VARIANT = {"official": KS_CLASSES, "digits": DIGITS}

TRAIN_FOLDER = "speech_commands"
TEST_FOLDER = "speech_commands_test"
OFFICIAL_TRAIN_FOLDER = "speech_commands_v0.01"
OFFICIAL_TEST_FOLDER = "speech_commands_test_set_v0.01"
CARD_FILE = "corpus.json"

# The constant of Speech Commands' own split rule, used unchanged by s3prl's `split_dataset`.
_HASH_RANGE = 2**27 - 1

Split = Literal["train", "dev", "test"]
Variant = Literal["official", "digits"]


class CorpusCard(BaseModel):
    """What `corpus.json` says about a prepared corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["s3prl_compress.corpus"] = "s3prl_compress.corpus"
    version: Literal[1] = 1
    task: Literal["ks"] = "ks"
    variant: Variant
    name: str
    generated: bool
    """True: synthetic speech."""
    classes: tuple[str, ...]
    source: dict[str, str]
    """`table`: file name of the table it was prepared from; `sha256`: of it and its recordings."""


@dataclass(frozen=True)
class Item:
    """One utterance."""

    path: Path
    label: str
    """A class of the corpus."""
    relative: str
    """Path below the corpus folder, with forward slashes: the utterance's name in every file."""


@dataclass(frozen=True)
class KeywordCorpus:
    """Where a keyword-spotting corpus lies and which classes it has. See `open_corpus`."""

    root: Path
    train_root: Path
    test_root: Path
    variant: Variant
    classes: tuple[str, ...]
    name: str
    generated: bool

    def items(self, split: Split) -> list[Item]:
        """List the utterances of a split, sorted by path.

        `train` and `dev` hold words only: what stands for silence there is `background()`. Words
        outside the classes are `_unknown_` where the variant has that class. Utterances that
        Speech Commands' rule sends to its unused third part are left out, as s3prl does.
        """
        if split == "test":
            found = [
                Item(path, folder.name, self._relative(path))
                for folder in _folders(self.test_root)
                for path in folder.glob("*.wav")
            ]
        else:
            found = [
                Item(path, self._label(folder.name), self._relative(path))
                for folder in self._word_folders()
                for path in folder.glob("*.wav")
                if split_of(path.name) == split
            ]
        return sorted(found, key=lambda item: item.relative)

    def background(self) -> list[Path]:
        """List the background recordings, sorted: silence in training and dev is cut from them.

        Empty for a variant without the class `_silence_`.
        """
        if SILENCE not in self.classes:
            return []
        return sorted((self.train_root / BACKGROUND_FOLDER).glob("*.wav"))

    def fingerprint(self) -> str:
        """Return a sha256 over the sorted relative paths and contents' hashes of all used files.

        The classes belong to it too. Files are read once per object; nothing is stored on disk.
        """
        return self._fingerprint

    def record(self) -> records.Corpus:
        """Describe the corpus for a result record."""
        splits: tuple[Split, ...] = ("train", "dev", "test")
        return records.Corpus(
            name=self.name,
            fingerprint=self.fingerprint(),
            sizes={split: len(self.items(split)) for split in splits},
            generated=self.generated,
        )

    @cached_property
    def _fingerprint(self) -> str:
        files = {self._relative(path): path for path in self._used_files()}
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for relative in _progress(sorted(files), "fingerprint of the corpus"):
            content = hashlib.sha256(_bytes(files[relative])).hexdigest()
            digest.update(f"{relative}\0{content}\n".encode())
        return digest.hexdigest()

    def _used_files(self) -> list[Path]:
        splits: tuple[Split, ...] = ("train", "dev", "test")
        return [item.path for split in splits for item in self.items(split)] + self.background()

    def _word_folders(self) -> list[Path]:
        return [path for path in _folders(self.train_root) if path.name != BACKGROUND_FOLDER]

    def _label(self, word: str) -> str:
        return UNKNOWN if word not in self.classes and UNKNOWN in self.classes else word

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def open_corpus(root: Path | str) -> KeywordCorpus:
    """Find the parts of a corpus folder; `check_corpus` says whether they can be used.

    A folder that `prepare` wrote has a `corpus.json`; without one, the two folders of the
    official Speech Commands v0.01 downloads are looked for.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give a corpus that `prepare ks` wrote")
    if (root / CARD_FILE).is_file():
        card = read_card(root)
        return KeywordCorpus(
            root=root,
            train_root=root / TRAIN_FOLDER,
            test_root=root / TEST_FOLDER,
            variant=card.variant,
            classes=card.classes,
            name=card.name,
            generated=card.generated,
        )
    train_root, test_root = root / OFFICIAL_TRAIN_FOLDER, root / OFFICIAL_TEST_FOLDER
    if not (train_root.is_dir() or test_root.is_dir()):
        raise InputError(
            f"{root}: no keyword corpus: neither {CARD_FILE} (written by `prepare ks`) nor the "
            f"folders {OFFICIAL_TRAIN_FOLDER} and {OFFICIAL_TEST_FOLDER}"
        )
    return KeywordCorpus(
        root=root,
        train_root=train_root,
        test_root=test_root,
        variant="official",
        classes=KS_CLASSES,
        name="Speech Commands v0.01",
        generated=False,
    )


def read_card(root: Path) -> CorpusCard:
    """Read `corpus.json` of a prepared corpus; anything else there is an `InputError`."""
    path = root / CARD_FILE
    try:
        card = CorpusCard.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: no corpus card of this version ({reason})") from error
    if card.classes != CLASSES_OF_VARIANT[card.variant]:
        raise InputError(f"{path}: the classes are not those of the variant {card.variant!r}")
    return card


def check_corpus(corpus: KeywordCorpus) -> None:
    """Raise one `InputError` that lists every fault, with counts and up to three examples each.

    Looks at folders and at each used file's header: no sample is decoded.
    """
    faults = Faults()
    for folder in (corpus.train_root, corpus.test_root):
        if not folder.is_dir():
            faults.add("missing folder", folder.name)
    _check_classes(corpus, faults)
    background = corpus.background()
    if SILENCE in corpus.classes and not background:
        faults.add("no background noise", f"{corpus.train_root.name}/{BACKGROUND_FOLDER}/*.wav")
    splits: tuple[Split, ...] = ("train", "dev", "test")
    files = [(item.path, 1) for split in splits for item in corpus.items(split)]
    files += [(path, SAMPLING_RATE) for path in background]
    for path, shortest in _progress(files, "checking the corpus"):
        name = path.relative_to(corpus.root).as_posix()
        check_audio(path, name, faults, shortest=shortest, rate=SAMPLING_RATE)
    faults.raise_if_any(str(corpus.root), "mend or remove these, or prepare the corpus again")


def split_of(file_name: str) -> Split:
    """Return the split of `<speaker>_nohash_<n>.wav` by Speech Commands' rule, as in s3prl.

    The SHA-1 of the speaker decides: below 10 % dev, below 20 % test (s3prl leaves these out,
    since the test set is a download of its own), the rest train.
    """
    speaker = re.sub(r"_nohash_.*$", "", file_name)
    number = int(hashlib.sha1(speaker.encode("utf-8")).hexdigest(), 16)
    percentage = (number % (_HASH_RANGE + 1)) * (100.0 / _HASH_RANGE)
    if percentage < 10:
        return "dev"
    return "test" if percentage < 20 else "train"


def _check_classes(corpus: KeywordCorpus, faults: Faults) -> None:
    for folder in corpus._word_folders():
        # A training folder of that name would be cropped at random by s3prl like the background.
        if folder.name == SILENCE or corpus._label(folder.name) not in corpus.classes:
            faults.add("class that does not belong", f"{folder.parent.name}/{folder.name}")
    for folder in _folders(corpus.test_root):
        if folder.name not in corpus.classes:
            faults.add("class that does not belong", f"{folder.parent.name}/{folder.name}")
    splits: tuple[Split, ...] = ("train", "dev", "test")
    for split in splits:
        root = corpus.test_root if split == "test" else corpus.train_root
        if not root.is_dir():
            continue
        present = {item.label for item in corpus.items(split)}
        for name in corpus.classes:
            if name not in present and not (name == SILENCE and split != "test"):
                faults.add("class without a clip", f"{name} in {split}")


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _progress(values: list, description: str) -> Iterator:
    """Show a bar on stderr, but only for a corpus that takes longer than a moment."""
    return iter(tqdm(values, desc=description, delay=2, leave=False, unit="file"))
