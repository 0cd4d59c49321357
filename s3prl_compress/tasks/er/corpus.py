"""An emotion corpus on disk, read exactly as s3prl's `emotion` downstream does, fold by fold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from ...audio.clips import SAMPLING_RATE, check_audio
from ...common.errors import InputError
from ...common.faults import Faults
from ...common.model_errors import first_mistake
from ..base.card import read_card
from ..base.corpus import CARD_FILE, Corpus, Item, Split, check_classes_differ, progress

EMOTIONS = ("neu", "hap", "ang", "sad")
"""In the order of s3prl's labels: the index of a class is the index of its logit."""
FOLDS = (1, 2, 3, 4, 5)
LABEL_FOLDER = "meta_data"
"""Folder below the corpus into which s3prl's preprocessing of IEMOCAP writes the labels."""
DEV_SHARE = 0.2
"""s3prl's `valid_ratio`: the share of a fold's training sessions set aside at random as dev."""
DEV_SEED = 0
"""s3prl's `torch.manual_seed(0)` before it sets dev aside."""

_IEMOCAP_NAME = re.compile(r"(Ses\d\d)[FM]_\w+_([FM])[\dX]+")

_REMARKS = (
    "IEMOCAP's labels were converted here: each fold is tested on the published utterances, but "
    "its dev part is another random fifth of the training sessions than that of s3prl's published "
    "lists, whose order was that of a file system.",
)


class Labelled(BaseModel):
    """One utterance in a list of labels."""

    path: str
    """Below the corpus: Session1/sentences/wav/<dialog>/<utterance>.wav"""
    label: str
    speaker: str = ""


class LabelFile(BaseModel):
    """Content of `Session{n}/{train,test}_meta_data.json`, as s3prl's expert reads it."""

    labels: dict[str, int]
    meta_data: list[Labelled]


@dataclass(frozen=True)
class EmotionCorpus(Corpus):
    """Folders of an emotion corpus; fold n is tested on session n. See `open_emotions`.

    A fold is divided into train and dev as by s3prl's expert: the list of the other sessions is
    shuffled by torch with a fixed seed, whatever the seed of the run, and its last fifth is dev.
    """

    audio_root: Path
    """Recordings are `<audio_root>/Session{1..5}/sentences/wav/<dialog>/<utterance>.wav`."""
    label_root: Path
    """Lists are `<label_root>/Session{1..5}/{train,test}_meta_data.json`."""
    remarks: tuple[str, ...] = ()
    """See `notes`."""

    @property
    def folds(self) -> tuple[int, ...]:
        """Five, one per session."""
        return FOLDS

    @property
    def notes(self) -> tuple[str, ...]:
        """State where the split differs from the published one."""
        return self.remarks

    def items(self, split: Split, fold: int = 0) -> list[Item]:
        """List the utterances of a fold's split, in s3prl's order: that of the lists, shuffled.

        Raises:
            InputError: the fold's lists cannot be read.
        """
        if split == "test":
            return list(self._items[fold, "test"])
        listed = self._items[fold, "train"]
        order = torch.randperm(len(listed), generator=torch.Generator().manual_seed(DEV_SEED))
        trained = int((1 - DEV_SHARE) * len(listed))
        chosen = order[:trained] if split == "train" else order[trained:]
        return [listed[index] for index in chosen.tolist()]

    def check(self) -> None:
        """Raise one `InputError` that lists every fault; see `Corpus.check`."""
        faults = Faults()
        place = str(self.audio_root.absolute())
        if "Session" in place:
            # s3prl's own preprocessing takes what follows the first "Session" for the path
            # below the corpus.
            faults.add("path that holds the word Session", place)
        try:
            _check_lists(self, faults)
        except InputError as error:
            faults.add("list of labels", str(error))
        else:
            every = {item.relative: item for fold in FOLDS for item in self._all(fold)}
            for relative, item in progress(sorted(every.items()), "checking the corpus"):
                if not item.path.is_file():
                    faults.add("missing file", relative)
                    continue
                check_audio(item.path, relative, faults, shortest=1, rate=SAMPLING_RATE)
        faults.raise_if_any(
            str(self.root), "fix or remove these, or write the corpus with `s3prl-compress prepare`"
        )

    def used_files(self) -> Iterable[Path]:
        """Yield every file that decides a score, the lists of labels included."""
        yield from super().used_files()
        for fold in FOLDS:
            for part in ("train", "test"):
                yield label_path(self.label_root, fold, part)

    def _all(self, fold: int) -> list[Item]:
        return self._items[fold, "train"] + self._items[fold, "test"]

    @cached_property
    def _items(self) -> dict[tuple[int, str], list[Item]]:
        return {key: self._items_in(listed) for key, listed in self._lists.items()}

    def _items_in(self, listed: LabelFile) -> list[Item]:
        items = []
        for entry in listed.meta_data:
            path = self.audio_root / entry.path
            items.append(Item(path, entry.label, self.relative(path), speaker_of(entry)))
        return items

    @cached_property
    def _lists(self) -> dict[tuple[int, str], LabelFile]:
        return {
            (fold, part): read_labels(label_path(self.label_root, fold, part))
            for fold in FOLDS
            for part in ("train", "test")
        }


def open_emotions(root: Path) -> EmotionCorpus:
    """Find the parts of a corpus folder; `check` says whether they can be used.

    A folder that `prepare` wrote has a `corpus.json`. Without one, it is IEMOCAP with the lists
    of labels that s3prl ships or makes, in `meta_data/Session{1..5}/`.
    """
    label_root = root / LABEL_FOLDER
    if (root / CARD_FILE).is_file():
        card = read_card(root, "er")
        if card.classes != EMOTIONS:
            raise InputError(f"{root / CARD_FILE}: the classes are not {', '.join(EMOTIONS)}")
        return EmotionCorpus(
            root=root,
            audio_root=root,
            label_root=label_root,
            variant=card.variant,
            classes=EMOTIONS,
            name=card.name,
            generated=card.generated,
            remarks=_REMARKS if card.variant == "iemocap" else (),
        )
    if not label_root.is_dir():
        raise InputError(
            f"{root}: no emotion corpus: neither {CARD_FILE} (written by `prepare er`) nor "
            f"s3prl's lists {LABEL_FOLDER}/Session1/train_meta_data.json and so on; for IEMOCAP "
            f"as it was delivered use `prepare er {root} --output DIR`"
        )
    return EmotionCorpus(
        root=root,
        audio_root=root,
        label_root=label_root,
        variant="iemocap",
        classes=EMOTIONS,
        name="IEMOCAP",
        generated=False,
    )


def speaker_of(entry: Labelled) -> str:
    """Return the speaker of an utterance; "" if its list gives none.

    IEMOCAP's lists name the actor who wore the markers, in all utterances of a dialog. Its file
    names tell who speaks: `Ses01F_impro01_M000` is session 1's man.
    """
    match = _IEMOCAP_NAME.fullmatch(Path(entry.path).stem)
    return match[1] + match[2] if match else entry.speaker


def label_path(label_root: Path, fold: int, part: str) -> Path:
    """Return where s3prl's expert finds a fold's list of labels; `part` is train or test."""
    return label_root / f"Session{fold}" / f"{part}_meta_data.json"


def label_texts(sessions: dict[int, list[dict[str, str]]]) -> dict[str, str]:
    """Return the content of all lists of labels, by their paths below the corpus folder.

    `sessions`: the entries (path, label, speaker) of each session, in order. As s3prl's own
    preprocessing: a fold's test list is its session, its train list the others one by one.
    """
    labels = {name: index for index, name in enumerate(EMOTIONS)}
    texts = {}
    for fold in FOLDS:
        train = [entry for other in FOLDS if other != fold for entry in sessions[other]]
        for part, entries in (("train", train), ("test", sessions[fold])):
            content: dict[str, Any] = {"labels": labels, "meta_data": entries}
            path = label_path(Path(LABEL_FOLDER), fold, part).as_posix()
            texts[path] = json.dumps(content, indent=1) + "\n"
    return texts


def read_labels(path: Path) -> LabelFile:
    """Read a list of labels; one that s3prl's expert could not read is an `InputError`."""
    try:
        return LabelFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        reason = first_mistake(error)
        raise InputError(f"{path}: no list of labels as s3prl reads it ({reason})") from error


def _check_lists(corpus: EmotionCorpus, faults: Faults) -> None:
    numbers = {name: index for index, name in enumerate(EMOTIONS)}
    sessions = {fold: _paths(corpus, fold, "test") for fold in FOLDS}
    for fold in FOLDS:
        for part in ("train", "test"):
            listed = corpus._lists[fold, part]
            where = f"Session{fold}/{part}"
            if listed.labels != numbers:
                faults.add(f"labels other than {', '.join(EMOTIONS)} from 0 on", where)
            for entry in listed.meta_data:
                if entry.label not in EMOTIONS:
                    faults.add("label that does not belong", f"{entry.label} in {where}")
        train = _paths(corpus, fold, "train")
        for path in sorted(train & sessions[fold]):
            faults.add("file in a fold's train and test", f"{path} in fold {fold}")
        if not sessions[fold]:
            faults.add("session without a clip", f"Session{fold}")
        others = set().union(*(paths for other, paths in sessions.items() if other != fold))
        if train != others:
            missing = len(others ^ train)
            faults.add("train list that is not the other sessions", f"{missing} in fold {fold}")
        _check_classes(corpus, fold, faults)


def _check_classes(corpus: EmotionCorpus, fold: int, faults: Faults) -> None:
    present = {item.label for item in corpus.items("train", fold)}
    for name in EMOTIONS:
        if name not in present:
            faults.add("class without a clip", f"{name} in train of fold {fold}")
    labels = (item.label for item in corpus.items("test", fold))
    check_classes_differ(labels, f"test of fold {fold}", faults)
    if not corpus.items("dev", fold):
        faults.add("split without a clip", f"dev of fold {fold}")


def _paths(corpus: EmotionCorpus, fold: int, part: str) -> set[str]:
    return {entry.path for entry in corpus._lists[fold, part].meta_data}
