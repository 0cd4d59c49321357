"""A keyword-spotting corpus on disk, read exactly as s3prl's `speech_commands` downstream does."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from ...audio.clips import SAMPLING_RATE, check_audio, read_wave
from ...common.errors import InputError
from ...common.faults import Faults
from ..base.card import read_card
from ..base.corpus import CARD_FILE, SPLITS, Corpus, Item, Split, folders, progress

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

# The constant of Speech Commands' own split rule, used unchanged by s3prl's `split_dataset`.
_HASH_RANGE = 2**27 - 1
_SPEAKER = "_nohash_"
"""The part of a file's name before it is the speaker."""

Variant = Literal["official", "digits"]


@dataclass(frozen=True)
class KeywordCorpus(Corpus):
    """Folders and classes of a keyword-spotting corpus. See `open_keywords`."""

    train_root: Path
    test_root: Path

    def items(self, split: Split, fold: int = 0) -> list[Item]:
        """List the utterances of a split, sorted by path.

        `train` and `dev` hold words only: their silence is cut from `background()`. Words
        outside the classes are `_unknown_` where the variant has that class. Utterances that
        Speech Commands' rule sends to its unused third part are left out, as s3prl does.
        """
        if split == "test":
            found = [
                self._item(path, folder.name)
                for folder in folders(self.test_root)
                for path in folder.glob("*.wav")
            ]
        else:
            found = [
                self._item(path, self._label(folder.name))
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

    def read(self, path: Path) -> Tensor:
        """Read a recording as s3prl's keyword spotting hears it, 3 dB lower: see `read_wave`."""
        return read_wave(path)

    def check(self) -> None:
        """Raise one `InputError` that lists every fault; see `Corpus.check`."""
        faults = Faults()
        for folder in (self.train_root, self.test_root):
            if not folder.is_dir():
                faults.add("missing folder", folder.name)
        _check_classes(self, faults)
        background = self.background()
        if SILENCE in self.classes and not background:
            faults.add("no background noise", f"{self.train_root.name}/{BACKGROUND_FOLDER}/*.wav")
        files = [(item.path, 1) for split in SPLITS for item in self.items(split)]
        files += [(path, SAMPLING_RATE) for path in background]
        for path, shortest in progress(files, "checking the corpus"):
            check_audio(path, self.relative(path), faults, shortest=shortest, rate=SAMPLING_RATE)
        faults.raise_if_any(
            str(self.root), "fix or remove these, or write the corpus with `s3prl-compress prepare`"
        )

    def utterance_name(self, item: Item) -> str:
        """Return the name of a test utterance in predictions: `<class>/<file>`."""
        return item.path.relative_to(self.test_root).as_posix()

    def used_files(self) -> Iterable[Path]:
        """Yield every file that decides a score, background recordings included."""
        yield from super().used_files()
        yield from self.background()

    def _word_folders(self) -> list[Path]:
        return [path for path in folders(self.train_root) if path.name != BACKGROUND_FOLDER]

    def _item(self, path: Path, label: str) -> Item:
        # Silence has no speaker, whatever its file is called.
        named = _SPEAKER in path.name and label != SILENCE
        speaker = path.name.partition(_SPEAKER)[0] if named else ""
        return Item(path, label, self.relative(path), speaker)

    def _label(self, word: str) -> str:
        return UNKNOWN if word not in self.classes and UNKNOWN in self.classes else word


def open_keywords(root: Path) -> KeywordCorpus:
    """Find the parts of a corpus folder; `check` says whether they can be used.

    A folder that `prepare` wrote has a `corpus.json`; without one, the two folders of the
    official Speech Commands v0.01 downloads are looked for.
    """
    if (root / CARD_FILE).is_file():
        card = read_card(root, "ks")
        if card.classes != CLASSES_OF_VARIANT.get(card.variant):
            raise InputError(
                f"{root / CARD_FILE}: the classes are not those of the variant {card.variant!r}"
            )
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
    for folder in folders(corpus.test_root):
        if folder.name not in corpus.classes:
            faults.add("class that does not belong", f"{folder.parent.name}/{folder.name}")
    for split in SPLITS:
        root = corpus.test_root if split == "test" else corpus.train_root
        if not root.is_dir():
            continue
        present = {item.label for item in corpus.items(split)}
        for name in corpus.classes:
            if name not in present and not (name == SILENCE and split != "test"):
                faults.add("class without a clip", f"{name} in {split}")
