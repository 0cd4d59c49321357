"""Writing spoken commands in the layout of Fluent Speech Commands, which both engines read."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from ...common.errors import InputError
from ...common.faults import Faults
from ..base.corpus import LABEL_SEPARATOR, SPLITS, check_classes_differ
from ..base.prepare import Layout, check_output, prepare_layout
from ..base.table import CorpusRow, Form, read_table
from .corpus import (
    LISTS,
    SLOTS,
    check_known,
    check_values,
    classes_of,
    intent,
    is_fluent,
    open_intents,
    write_csv,
)

_AUDIO_FOLDER = "wavs"


def prepare_intents(metadata: Path, output: Path, *, name: str | None = None) -> Path:
    """Write a corpus of commands from a table, or from Fluent Speech Commands.

    The table has the columns file, action, object, location, speaker, split. The result is 16-bit
    mono wav at 16 kHz and the three lists of Fluent Speech Commands. `name` is what reports call
    the corpus; by default the name of the table's folder.

    In place of a table, `metadata` may be the folder of Fluent Speech Commands: its recordings are
    not copied, `output` links to them.

    `output` appears whole or not at all. One that was prepared from the same table and the same
    recordings is left as it is; any other content there is an `InputError`, as is every fault of
    the table.
    """
    metadata, output = Path(metadata), Path(output)
    if is_fluent(metadata):
        return _prepare_fluent(metadata, output)
    if metadata.is_dir():
        raise InputError(
            f"{metadata}: not the folder of Fluent Speech Commands, which holds {LISTS['train']}; "
            "for other commands give a csv table"
        )
    return _prepare(metadata, output, name or metadata.resolve().parent.name)


def _prepare(metadata: Path, output: Path, name: str) -> Path:
    check_output(output)
    rows = read_table(metadata, Form(slots=SLOTS), _check_labels)
    lists: dict[str, list[dict[str, str]]] = {split: [] for split in SPLITS}
    recordings = []
    for row, path in zip(rows, _places(rows), strict=True):
        recordings.append((row.path, path))
        lists[row.split].append({"path": path, "speakerId": row.speaker, **_values(row)})
    layout = Layout(
        "ic",
        "intents",
        classes_of(lists["train"]),
        recordings,
        texts={LISTS[split]: write_csv(lists[split]) for split in SPLITS},
    )
    sources = [row.path for row in rows]
    return prepare_layout(
        layout, output, name=name, generated=False, table=metadata, sources=sources
    )


def _prepare_fluent(source: Path, output: Path) -> Path:
    """Write the lists of Fluent Speech Commands, and a link to its recordings."""
    check_output(output)
    corpus = open_intents(source)
    corpus.check()
    layout = Layout(
        "ic",
        corpus.variant,
        corpus.classes,
        [],
        texts={name: (source / name).read_text("utf-8-sig") for name in LISTS.values()},
        links={_AUDIO_FOLDER: source / _AUDIO_FOLDER},
    )
    return prepare_layout(
        layout,
        output,
        name=corpus.name,
        generated=False,
        table=source,
        sources=sorted(set(corpus.used_files())),
    )


def _values(row: CorpusRow) -> dict[str, str]:
    return dict(zip(SLOTS, row.label.split(LABEL_SEPARATOR), strict=True))


def _check_labels(rows: list[CorpusRow], faults: Faults) -> None:
    by_split = {split: [_values(row) for row in rows if row.split == split] for split in SPLITS}
    for row in rows:
        check_values(_values(row), row.file, faults)
    for split, values in by_split.items():
        check_known(values, by_split["train"], split, faults)
        labels = [intent(one) for one in values]
        if not labels:
            faults.add("split without a clip", split)
        if split != "dev":
            check_classes_differ(labels, split, faults)


def _places(rows: list[CorpusRow]) -> list[str]:
    """Return where each row's recording goes below the corpus folder."""
    folders = _speaker_folders(rows)
    takes: Counter[str] = Counter()
    places = []
    for row in rows:
        folder = folders[row.speaker]
        places.append(f"{_AUDIO_FOLDER}/speakers/{folder}/{takes[folder]:05}.wav")
        takes[folder] += 1
    return places


def _speaker_folders(rows: list[CorpusRow]) -> dict[str, str]:
    """Return a folder name for every speaker, of letters, digits and underscores."""
    names: dict[str, str] = {}
    for speaker in sorted({row.speaker for row in rows}):
        plain = name = re.sub(r"[^A-Za-z0-9]+", "_", speaker)
        number = 2
        while name in names.values():
            name, number = f"{plain}_{number}", number + 1
        names[speaker] = name
    return names
