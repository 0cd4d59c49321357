"""Bringing recordings and their phonemes into the layout that both engines read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...audio.table import Split
from ...common.errors import InputError
from ...common.faults import Faults
from ..base.corpus import SPLITS
from ..base.librispeech import librispeech_targets
from ..base.prepare import Layout, check_output, packaged_table, prepare_layout
from ..base.table import CorpusRow, Form, read_table
from ..base.transcripts import FOLDERS, TranscribedCorpus, open_transcripts
from .corpus import phoneme_list
from .lexicon import LEXICONS, find_lexicons, read_lexicon
from .phonemes import PHONEMES, SPECIAL

DEMO_NAME = "generated demo sentences, phonemes of espeak-ng"

_COLUMN = "phonemes"


def prepare_phonemes(metadata: Path, output: Path, *, name: str | None = None) -> Path:
    """Write a corpus for phoneme recognition from a table or from LibriSpeech.

    A table has the columns file, phonemes (separated by spaces, any symbols), speaker, split. The
    result is 16-bit mono wav at 16 kHz in LibriSpeech's folders, with `phonemes/<split>.txt` and
    a `corpus.json`, which lists the inventory: the phonemes of all splits, sorted. `name` is what
    reports call the corpus; without it the name of the table's folder.

    In place of a table, `metadata` may be the folder of LibriSpeech: see `prepare_librispeech`.

    `output` appears whole or not at all. One that was prepared from the same table and the same
    recordings is left as it is; any other content there is an `InputError`, as is every fault of
    the table.
    """
    metadata, output = Path(metadata), Path(output)
    if metadata.is_dir():
        return prepare_librispeech(metadata, output)
    return _prepare(metadata, output, name or metadata.resolve().parent.name, generated=False)


def demo_phonemes(output: Path) -> Path:
    """Unpack the packaged sentences of generated speech, with espeak-ng's phonemes, at `output`."""
    with packaged_table("asr") as table:
        return _prepare(table.with_name("phonemes.csv"), Path(output), DEMO_NAME, generated=True)


def prepare_librispeech(source: Path, output: Path) -> Path:
    """Write the phonemes of LibriSpeech after SUPERB's lexicons, and links to its recordings.

    `source` holds train-clean-100, dev-clean and test-clean, or a folder `LibriSpeech` with them.
    The two lexicons are in `source`, or beside these folders. Any transcribed corpus in this
    layout will do, too, if the lexicons have all of its words. Recordings are not copied:
    `output` links to them.

    Raises:
        InputError: one line with what is missing: a lexicon, a part of LibriSpeech, or words that
            the lexicons lack; or `output` is something else.
    """
    check_output(output)
    inner = source / "LibriSpeech"
    root = inner if inner.is_dir() else source
    if not any((root / folder).is_dir() for folder in FOLDERS.values()):
        raise InputError(
            f"{source}: not the folder of LibriSpeech, which holds {', '.join(FOLDERS.values())}; "
            "for other speech give a csv table"
        )
    corpus = open_transcripts(root)
    paths = find_lexicons(source, corpus.root)
    corpus.check()
    labels = _phonemes_of_words(corpus, read_lexicon(paths))
    layout = Layout(
        "pr",
        corpus.variant if corpus.variant == "librispeech" else "phonemes",
        PHONEMES,
        recordings=[],
        texts=_lists(labels),
        links={FOLDERS[split]: corpus.split_folder(split) for split in SPLITS},
    )
    transcripts = sorted(path for split in SPLITS for path in corpus.label_files(split))
    return prepare_layout(
        layout,
        output,
        name=corpus.name,
        generated=corpus.generated,
        table=source,
        sources=[*paths, *transcripts],
    )


def _phonemes_of_words(
    corpus: TranscribedCorpus, lexicon: dict[str, list[str]]
) -> list[tuple[Split, str, str]]:
    """Return split, name and phonemes of every utterance."""
    faults = Faults()
    labels = []
    for split in SPLITS:
        for item in corpus.items(split):
            words = item.label.split()
            for word in words:
                if word not in lexicon:
                    faults.add("word that the lexicons lack", f"{word} in {item.path.stem}")
                elif not set(lexicon[word]) <= set(PHONEMES):
                    faults.add("word with phonemes that are not SUPERB's", word)
            phonemes = [phoneme for word in words for phoneme in lexicon.get(word, [])]
            labels.append((split, item.path.stem, " ".join(phonemes)))
    faults.raise_if_any(
        str(corpus.root), f"nothing was written; are {LEXICONS[0]} and {LEXICONS[1]} whole?"
    )
    return labels


def _prepare(metadata: Path, output: Path, name: str, *, generated: bool) -> Path:
    check_output(output)
    rows = read_table(metadata, Form(label_column=_COLUMN), _check_phonemes)
    targets = librispeech_targets(rows)
    labels = [(row.split, Path(target).name, row.label) for row, target in targets]
    layout = Layout(
        "pr",
        "phonemes",
        classes=tuple(sorted({phoneme for row in rows for phoneme in row.label.split()})),
        recordings=[(row.path, f"{target}.wav") for row, target in targets],
        texts=_lists(labels),
    )
    sources = [row.path for row in rows]
    return prepare_layout(
        layout, output, name=name, generated=generated, table=metadata, sources=sources
    )


def _check_phonemes(rows: list[CorpusRow], faults: Faults) -> None:
    for row in rows:
        if reserved := set(SPECIAL) & set(row.label.split()):
            faults.add("symbol of s3prl's own", f"{reserved.pop()} of {row.file}")
    for split in SPLITS:
        if all(row.split != split for row in rows):
            faults.add("split without a recording", split)


def _lists(labels: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Return the content of the list of each split, sorted by name, by its path."""
    lines: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split, name, label in sorted(labels):
        lines[split].append(f"{name} {' '.join(label.split())}\n")
    return {phoneme_list(split): "".join(lines[split]) for split in SPLITS}
