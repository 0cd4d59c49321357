"""A corpus of spoken commands, read exactly as s3prl's `fluent_commands` downstream does."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from ...audio.clips import SAMPLING_RATE, check_audio
from ...audio.table import decode_text
from ...common.errors import InputError
from ...common.faults import Faults
from ..base.card import read_card
from ..base.corpus import (
    CARD_FILE,
    LABEL_SEPARATOR,
    SPLITS,
    Corpus,
    Item,
    Split,
    check_classes_differ,
    progress,
)

SLOTS = ("action", "object", "location")
"""The parts of an intent, in the order of s3prl's logits."""
LISTS: dict[Split, str] = {
    "train": "data/train_data.csv",
    "dev": "data/valid_data.csv",
    "test": "data/test_data.csv",
}
COLUMNS = ("path", "speakerId", *SLOTS)
"""Columns of a list that are read; further ones are ignored."""
OFFICIAL_SIZES = (6, 14, 4)
"""Values of each slot in Fluent Speech Commands."""


@dataclass(frozen=True)
class IntentCorpus(Corpus):
    """Spoken commands and their intents, in the layout of Fluent Speech Commands.

    A label holds the values of the three slots, as `action/object/location`. A class is one value
    of one slot, as `action: value`: s3prl's head has one output for each of them, in the order in
    which they first occur in the training list.
    """

    @property
    def slots(self) -> tuple[tuple[str, ...], ...]:
        """The classes, slot by slot."""
        return tuple(
            tuple(name for name in self.classes if name.startswith(f"{slot}: ")) for slot in SLOTS
        )

    def values(self, label: str) -> tuple[str, ...]:
        """Return a label's class in every slot."""
        parts = label.split(LABEL_SEPARATOR)
        return tuple(f"{slot}: {value}" for slot, value in zip(SLOTS, parts, strict=True))

    def label(self, values: Sequence[str]) -> str:
        """Return the label of one class in every slot."""
        return LABEL_SEPARATOR.join(value.partition(": ")[2] for value in values)

    def items(self, split: Split, fold: int = 0) -> list[Item]:
        """List the utterances of a split in the order of its list, which is s3prl's."""
        return [
            Item(self.root / row["path"], intent(row), row["path"], row["speakerId"])
            for row in self._rows[split]
        ]

    def check(self) -> None:
        """Raise one `InputError` that lists every fault; see `Corpus.check`."""
        faults = Faults()
        self._check_lists(faults)
        faults.raise_if_any(str(self.root), "correct the lists, or prepare the corpus again")
        items = [item for split in SPLITS for item in self.items(split)]
        for item in progress(items, "checking the corpus"):
            if not item.path.is_file():
                faults.add("missing file", item.relative)
                continue
            check_audio(item.path, item.relative, faults, shortest=1, rate=SAMPLING_RATE)
        faults.raise_if_any(
            str(self.root), "fix or remove these, or write the corpus with `s3prl-compress prepare`"
        )

    def used_files(self) -> Iterable[Path]:
        """Yield every file that decides a score, the lists included."""
        yield from super().used_files()
        for name in LISTS.values():
            yield self.root / name

    def _check_lists(self, faults: Faults) -> None:
        seen: set[str] = set()
        for split, rows in self._rows.items():
            where = LISTS[split]
            if not rows:
                faults.add("split without a clip", where)
            for row in rows:
                path = PurePosixPath(row["path"])
                if path.is_absolute() or ".." in path.parts:
                    faults.add("path that does not lie below the corpus", f"{path} in {where}")
                if row["path"] in seen:
                    faults.add("file listed twice", f"{path} in {where}")
                seen.add(row["path"])
                check_values(row, f"{path} in {where}", faults)
            check_known(rows, self._rows["train"], where, faults)
            if split != "dev":
                check_classes_differ((intent(row) for row in rows), where, faults)
        if self.classes != classes_of(self._rows["train"]):
            faults.add("classes that differ from those of the training list", CARD_FILE)

    @cached_property
    def _rows(self) -> dict[Split, list[dict[str, str]]]:
        return {split: read_list(self.root / name) for split, name in LISTS.items()}


def open_intents(root: Path) -> IntentCorpus:
    """Find the parts of a corpus folder; `check` says whether they can be used.

    A folder that `prepare` wrote has a `corpus.json`. Without one, it is Fluent Speech Commands as
    it was downloaded, or other commands in its layout.
    """
    if (root / CARD_FILE).is_file():
        card = read_card(root, "ic")
        return IntentCorpus(
            root=root,
            name=card.name,
            generated=card.generated,
            variant=card.variant,
            classes=card.classes,
        )
    if not is_fluent(root):
        inner = root / "fluent_speech_commands_dataset"
        hint = f"; give {inner}" if is_fluent(inner) else ""
        raise InputError(
            f"{root}: no corpus of commands: neither {CARD_FILE} (written by `prepare ic`) nor "
            f"Fluent Speech Commands' {LISTS['train']}{hint}"
        )
    rows = read_list(root / LISTS["train"])
    variant = variant_of(rows)
    return IntentCorpus(
        root=root,
        name="Fluent Speech Commands" if variant == "fluent" else root.resolve().name,
        generated=False,
        variant=variant,
        classes=classes_of(rows),
    )


def is_fluent(folder: Path) -> bool:
    """Tell whether a folder has the layout of Fluent Speech Commands."""
    return (folder / LISTS["train"]).is_file()


def intent(row: dict[str, str]) -> str:
    """Return the label of a row: the values of its slots."""
    return LABEL_SEPARATOR.join(row[slot] for slot in SLOTS)


def classes_of(train: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """Return the classes of a training list, in s3prl's order: by slot, then by first occurrence.

    `train` holds the rows of the list, or anything else with the slots as keys.
    """
    return tuple(
        f"{slot}: {value}" for slot in SLOTS for value in dict.fromkeys(row[slot] for row in train)
    )


def variant_of(train: Sequence[dict[str, str]]) -> str:
    """Return `fluent` if a training list has as many values as Fluent Speech Commands."""
    sizes = tuple(len({row[slot] for row in train}) for slot in SLOTS)
    return "fluent" if sizes == OFFICIAL_SIZES else "intents"


def check_values(row: dict[str, str], where: str, faults: Faults) -> None:
    """Note in `faults` which values of a row's slots cannot be used."""
    for slot in SLOTS:
        value = row[slot]
        if LABEL_SEPARATOR in value:
            faults.add(f"value with a {LABEL_SEPARATOR}", f"{slot} {value} of {where}")
        if not read_as_text(value):
            faults.add(
                "value that s3prl does not read as text (empty, a number or a missing value)",
                f"{slot} {value!r} of {where}",
            )


def check_known(
    rows: Sequence[dict[str, str]], train: Sequence[dict[str, str]], where: str, faults: Faults
) -> None:
    """Note in `faults` which values of a split do not occur in training: no output is theirs."""
    for slot in SLOTS:
        known = {row[slot] for row in train}
        unknown = Counter(row[slot] for row in rows if row[slot] not in known)
        for value, count in unknown.items():
            shown = f"{slot} {value}" if count == 1 else f"{slot} {value} x {count}"
            faults.add("value that training lacks", f"{shown} in {where}", count=count)


@lru_cache(maxsize=4096)
def read_as_text(value: str) -> bool:
    """Tell whether pandas, by which s3prl reads the lists, reads a value as this very text.

    s3prl keeps the values of a slot and their numbers as keys of the same dictionary, so a value
    that is read as a number would be taken for another one.
    """
    import pandas

    frame = pandas.read_csv(io.StringIO(write_csv([{"value": value, "other": "text"}])))
    return frame["value"].tolist() == [value]


def read_list(path: Path) -> list[dict[str, str]]:
    """Read a list of commands: its rows with the columns `COLUMNS`.

    Raises:
        InputError: the list cannot be read, or lacks a column.
    """
    try:
        text = decode_text(path, path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read the list of a split ({error.strerror})") from error
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(
                f"{path}: no column {', '.join(missing)}; a list needs {', '.join(COLUMNS)}"
            )
        return [{name: row[name] for name in COLUMNS} for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: not a readable list ({error}); check its quotes") from error


def write_csv(rows: Sequence[dict[str, str]]) -> str:
    """Return the content of a csv file, with the keys of the first row as its columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
