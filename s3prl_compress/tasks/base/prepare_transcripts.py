"""Writing transcribed recordings in LibriSpeech's layout, which both engines read."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ...common.faults import Faults
from .characters import plain_transcript
from .corpus import SPLITS
from .librispeech import librispeech_targets
from .prepare import Layout, check_output, packaged_table, prepare_layout
from .table import CorpusRow, Form, read_table
from .transcripts import check_text

DEMO_NAME = "generated demo sentences"


def prepare_transcripts(metadata: Path, output: Path, *, name: str | None = None) -> Path:
    """Write a corpus for recognition from a table with the columns file, text, speaker, split.

    The result is 16-bit mono wav at 16 kHz in LibriSpeech's folders, with its `*.trans.txt`,
    and a `corpus.json`. A file named `<speaker>-<chapter>-<number>` keeps its name, others are
    numbered. `name` is what reports call the corpus; without it the name of the table's folder.

    `output` appears whole or not at all. One that was prepared from the same table and the same
    recordings is left as it is; any other content there is an `InputError`, as is every fault of
    the table.
    """
    metadata, output = Path(metadata), Path(output)
    return _prepare(metadata, output, name or metadata.resolve().parent.name, generated=False)


def demo_transcripts(output: Path) -> Path:
    """Unpack the packaged sentences of generated speech into LibriSpeech's layout at `output`."""
    with packaged_table("asr") as table:
        return _prepare(table, Path(output), DEMO_NAME, generated=True)


def _prepare(metadata: Path, output: Path, name: str, *, generated: bool) -> Path:
    check_output(output)
    rows = read_table(metadata, Form(label_column="text"), _check_texts)
    targets = librispeech_targets(rows)
    layout = Layout(
        "asr",
        "transcripts",
        classes=(),
        recordings=[(row.path, f"{target}.wav") for row, target in targets],
        texts=_lists(targets),
    )
    sources = [row.path for row in rows]
    return prepare_layout(
        layout, output, name=name, generated=generated, table=metadata, sources=sources
    )


def _check_texts(rows: list[CorpusRow], faults: Faults) -> None:
    for row in rows:
        check_text(row.label, row.file, faults)
    for split in SPLITS:
        if all(row.split != split for row in rows):
            faults.add("split without a recording", split)


def _lists(targets: list[tuple[CorpusRow, str]]) -> dict[str, str]:
    """Return the content of every `*.trans.txt` by its path below the corpus folder."""
    lines: dict[str, list[str]] = defaultdict(list)
    for row, target in sorted(targets, key=lambda pair: pair[1]):
        folder, name = target.rsplit("/", 1)
        speaker, chapter = folder.split("/")[-2:]
        text = plain_transcript(row.label)
        lines[f"{folder}/{speaker}-{chapter}.trans.txt"].append(f"{name} {text}\n")
    return {path: "".join(found) for path, found in lines.items()}
