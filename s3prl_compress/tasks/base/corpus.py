"""`Corpus`: the interface between a corpus on disk and the engines, for every task."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from torch import Tensor
from tqdm import tqdm

from ...audio.clips import read_samples
from ...audio.table import Split
from ...common.faults import Faults
from ...common.file_hashes import HashedFiles
from ...results import records

CARD_FILE = "corpus.json"
"""Name of the file that `prepare` writes beside the recordings."""

SPLITS: tuple[Split, ...] = ("train", "dev", "test")

LABEL_SEPARATOR = "/"
"""Between the values of a label that has several slots."""

ONE_FOLD = (0,)
"""The folds of a task without cross-validation."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Item:
    """One utterance."""

    path: Path
    label: str
    """A class of the corpus; for recognition, the transcript, or phonemes separated by spaces."""
    relative: str
    """Path below the corpus folder, with forward slashes: the utterance's name in every file."""
    speaker: str = ""
    """The speaker; empty if the corpus does not say. Utterances of one speaker are dependent."""


@dataclass(frozen=True)
class Corpus(ABC):
    """A corpus in the layout that s3prl reads. See `open_corpus`."""

    root: Path
    name: str
    generated: bool
    """True: synthetic speech."""
    variant: str
    """Which declaration of the task it is: rows of different variants are never compared."""
    classes: tuple[str, ...]
    """The index of a class is the index of its logit; empty for speech recognition. Of phoneme
    recognition they are the phonemes, whose logits follow those of s3prl's own symbols."""

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of cross-validation; a task without any has the one fold 0."""
        return ONE_FOLD

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for readers of any score on it, one sentence each."""
        return ()

    @property
    def slots(self) -> tuple[tuple[str, ...], ...]:
        """The classes by slot: of each, a head predicts one class.

        One slot that holds all classes, except for tasks whose labels have several parts. The
        slots one after the other are `classes`.
        """
        return (self.classes,)

    def values(self, label: str) -> tuple[str, ...]:
        """Return a label's class in every slot."""
        return (label,)

    def label(self, values: Sequence[str]) -> str:
        """Return the label of one class in every slot; the inverse of `values`."""
        (value,) = values
        return value

    @abstractmethod
    def items(self, split: Split, fold: int = 0) -> list[Item]:
        """List the utterances of a split, in the order that both engines use."""

    @abstractmethod
    def check(self) -> None:
        """Raise one `InputError` that lists every fault, with counts and up to three examples.

        Looks at folders and at each used file's header: no sample is decoded.
        """

    def background(self) -> list[Path]:
        """List the recordings from which training and dev clips are cut at random, sorted.

        None but for keyword spotting, whose silence is cut from background noise.
        """
        return []

    def read(self, path: Path) -> Tensor:
        """Read a recording as the task's downstream in s3prl hears it: [samples], float32."""
        return read_samples(path)

    def utterance_name(self, item: Item) -> str:
        """Return the name of a test utterance in predictions."""
        return item.relative

    def test_items(self) -> list[Item]:
        """List the test utterances of all folds, fold after fold: what predictions are of."""
        return list(self._test_items)

    def fingerprint(self) -> str:
        """Return a sha256 over the sorted relative paths and contents' hashes of all used files.

        The classes belong to it too. The hashes of a large corpus are remembered; see
        `common.file_hashes`.
        """
        return self._fingerprint

    def check_unchanged(self) -> None:
        """Check that all used files still are what `fingerprint` was computed from.

        Raises:
            InputError: a file has changed or is gone; the message names it.
        """
        self._hashed.check_unchanged()

    def record(self) -> records.CorpusRecord:
        """Describe the corpus for a result record; its sizes are those of all folds together."""
        return records.CorpusRecord(
            name=self.name,
            fingerprint=self.fingerprint(),
            sizes=dict(self._sizes),
            generated=self.generated,
        )

    def used_files(self) -> Iterable[Path]:
        """Yield every file that decides a score: recordings, and lists of labels and splits."""
        for fold in self.folds:
            for split in SPLITS:
                for item in self.items(split, fold):
                    yield item.path

    # Listed once per object, as files are read once: every record of a suite needs them.

    @cached_property
    def _test_items(self) -> list[Item]:
        return [item for fold in self.folds for item in self.items("test", fold)]

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return {split: sum(len(self.items(split, fold)) for fold in self.folds) for split in SPLITS}

    @cached_property
    def _hashed(self) -> HashedFiles:
        files = sorted({self.relative(path) for path in self.used_files()})
        return HashedFiles(self.root, files, "fingerprint of the corpus")

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for relative, content in zip(self._hashed.files, self._hashed.hashes, strict=True):
            digest.update(f"{relative}\0{content}\n".encode())
        return digest.hexdigest()

    def relative(self, path: Path) -> str:
        """Return a file's path below the corpus folder, with forward slashes."""
        return path.relative_to(self.root).as_posix()


def check_classes_differ(labels: Iterable[str], where: str, faults: Faults) -> None:
    """Add a fault if all utterances are of one class: any model would score 100 there.

    `where` is the split, in words.
    """
    present = set(labels)
    if len(present) == 1:
        faults.add("one class only, where a score needs two", f"{present.pop()} in {where}")


def folders(root: Path) -> list[Path]:
    """List the folders in `root`, sorted; none where `root` is not there."""
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def progress(values: Sequence[Value], description: str) -> Iterator[Value]:
    """Show a progress bar on stderr, after two seconds."""
    return iter(tqdm(values, desc=description, delay=2, leave=False, unit="file"))
