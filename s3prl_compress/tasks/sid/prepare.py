"""Writing recordings of known speakers in VoxCeleb1's layout, which both engines read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ...common.faults import Faults
from ..base.corpus import SPLITS, check_classes_differ
from ..base.prepare import Layout, check_output, packaged_table, prepare_layout
from ..base.table import CorpusRow, Form, read_table
from .corpus import AUDIO_FOLDER, LISTS, SPLIT_NUMBERS, speaker_ids

DEMO_NAME = "generated demo speakers"


def prepare_speakers(metadata: Path, output: Path, *, name: str | None = None) -> Path:
    """Write a speaker corpus from a table with the columns file, label, speaker, split.

    The label is the speaker; the column `speaker` may be empty, else it says the same. The result
    is 16-bit mono wav at 16 kHz in VoxCeleb1's folders, with its list of the split; speakers are
    called id10001, id10002, ... in the order of their sorted labels, and `corpus.json` maps these
    names to the labels. `name` is what reports call the corpus; by default the name of the table's
    folder.

    `output` appears whole or not at all. One that was prepared from the same table and the same
    recordings is left as it is; any other content there is an `InputError`, as is every fault of
    the table.
    """
    metadata, output = Path(metadata), Path(output)
    return _prepare(metadata, output, name or metadata.resolve().parent.name, generated=False)


def demo_speakers(output: Path) -> Path:
    """Unpack the packaged speakers of generated speech into VoxCeleb1's layout at `output`."""
    with packaged_table("sid") as table:
        return _prepare(table, Path(output), DEMO_NAME, generated=True)


def _prepare(metadata: Path, output: Path, name: str, *, generated: bool) -> Path:
    check_output(output)
    rows = read_table(metadata, Form(needs_speaker=lambda label: False), _check_labels)
    labels = sorted({row.label for row in rows})
    ids = dict(zip(labels, speaker_ids(len(labels)), strict=True))
    targets = _targets(rows, ids)
    number = {str(split): number for split, number in SPLIT_NUMBERS.items()}
    lines = sorted(f"{number[split]} {place}\n" for split, place, _ in targets)
    layout = Layout(
        "sid",
        "speakers",
        tuple(ids.values()),
        [(source, f"{AUDIO_FOLDER}/dev/wav/{place}") for _, place, source in targets],
        texts={LISTS[0]: "".join(lines)},
        labels={identity: label for label, identity in ids.items()},
    )
    sources = [row.path for row in rows]
    return prepare_layout(
        layout, output, name=name, generated=generated, table=metadata, sources=sources
    )


def _check_labels(rows: list[CorpusRow], faults: Faults) -> None:
    for row in rows:
        if row.speaker and row.speaker != row.label:
            faults.add("label that is not the speaker", row.file)
    present = {(row.label, row.split) for row in rows}
    for label in sorted({row.label for row in rows}):
        if (label, "train") not in present:
            faults.add("speaker without a clip", f"{label} in train")
    for split in SPLITS:
        if not any(row.split == split for row in rows):
            faults.add("split without a clip", split)
        if split != "dev":
            own = (row.label for row in rows if row.split == split)
            check_classes_differ(own, split, faults)


def _targets(rows: list[CorpusRow], ids: dict[str, str]) -> list[tuple[str, str, Path]]:
    """Return (split, `idXXXXX/<video>/<n>.wav`, source) of every row; the split is the video."""
    takes: Counter[tuple[str, str]] = Counter()
    targets = []
    for row in rows:
        takes[row.label, row.split] += 1
        number = takes[row.label, row.split]
        targets.append((row.split, f"{ids[row.label]}/{row.split}/{number:05}.wav", row.path))
    return targets
