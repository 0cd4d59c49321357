"""Transcribed test sets, as they are on disk: nothing is prepared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from ...audio import TranscribedAudio, open_transcribed
from ...audio.table import find_table
from ...common.errors import InputError
from ...common.file_hashes import HashedFiles
from ...encoder.ctc_text import plain_text
from ...results.records import CorpusRecord
from .card import read_card
from .corpus import CARD_FILE, Corpus, Item, Split


@dataclass(frozen=True)
class TranscribedTestSet(Corpus):
    """Utterances with their transcripts, in upper case; there is a test split only.

    `speech` has the transcripts as they were written.
    """

    speech: TranscribedAudio
    source: Path
    """As it was given: a folder or a table."""

    def items(self, split: Split, fold: int = 0) -> list[Item]:
        """List the test utterances in the order of `speech`."""
        if split != "test":
            return []
        rows = zip(self.speech.audio.files, self.speech.texts, self.speech.speakers, strict=True)
        root = self.speech.audio.root
        return [Item(root / file, plain_text(text), file, who) for file, text, who in rows]

    def check(self) -> None:
        """Raise an `InputError` if the recordings are digital silence."""
        self.speech.audio.check_audible()

    def fingerprint(self) -> str:
        """Return a sha256 over names, contents and transcripts; recordings are read once."""
        return self._digest

    def record(self) -> CorpusRecord:
        """Describe the test set for a result record."""
        return CorpusRecord(
            name=self.name,
            fingerprint=self.fingerprint(),
            sizes={"test": len(self.speech.texts)},
            generated=self.generated,
        )

    @cached_property
    def _hashed(self) -> HashedFiles:
        return self.speech.audio.hashed()

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        audio = self.speech.audio
        for row in zip(audio.files, self._hashed.hashes, self.speech.texts, strict=True):
            file, content, text = row
            digest.update(f"{file}\0{content}\0{text}\n".encode())
        return digest.hexdigest()


def open_test_set(source: Path) -> TranscribedTestSet:
    """List and check transcribed speech: the test split, or all of a source without splits.

    Raises:
        InputError: the source is not usable, or it holds several test sets.
    """
    return _test_set(source, open_transcribed(source, "test", minimum_samples=0))


def open_dev_set(test_set: TranscribedTestSet, given: str | Path | None) -> TranscribedTestSet:
    """List and check the speech on which settings of decoding are chosen for a test set.

    It is the dev split of `given`, or all of it if it has no splits. By default it is the split
    that belongs to the test set: the dev (or valid) rows of its table, `dev-clean` beside
    `test-clean`, or all folders `dev-...` in a folder of LibriSpeech. A test set that is such a dev
    split itself is its own.

    Raises:
        InputError: there is no dev split, or it shares recordings with the test set.
    """
    source = test_set.source.resolve()
    place = _dev_beside(source) if given is None else Path(given)
    advice = "name other speech (--lm-dev), or give both weights (--lm-weight, --word-score)"
    missing = "no dev split to tune the weights of the language model on"
    try:
        speech = open_transcribed(place, "dev", minimum_samples=0)
    except InputError as error:
        if given is not None:
            raise
        reason = str(error)
        raise InputError(f"{missing} ({reason}); {advice}") from error
    dev = _test_set(place, speech)
    itself = place.resolve() == source and source.name.startswith("dev-")
    common = set(speech.audio.contents()) & set(test_set.speech.audio.contents())
    if common and not itself:
        what = missing if given is None else "nothing to tune on"
        reason = f"{place}: {len(common)} of its recordings are in the test set, too"
        raise InputError(f"{what} ({reason}); {advice}")
    return dev


def _dev_beside(source: Path) -> Path:
    """Return the default place of the dev split of a test set."""
    kind, dash, part = source.name.partition("-")
    in_librispeech = find_table(source) is None and kind in ("test", "dev") and bool(dash)
    return source.parent / f"dev-{part}" if in_librispeech else source


def _test_set(source: Path, speech: TranscribedAudio) -> TranscribedTestSet:
    folders = {folder for file in speech.audio.files for folder in PurePath(file).parents}
    sets = sorted(folder for folder in folders if folder.name.startswith("test-"))
    if len(sets) > 1:
        names = " and ".join(folder.name for folder in sets)
        raise InputError(
            f"{source}: holds {names}, which are scored apart; give {source}/{sets[0].as_posix()}"
        )
    root = speech.audio.root
    card = next((place for place in (root, root.parent) if (place / CARD_FILE).is_file()), None)
    table = source.is_file() and source.stem != "metadata"
    name, generated = source.stem if table else root.resolve().name, False
    if card is not None:
        found = read_card(card, "asr")
        generated = found.generated
        name = found.name if card == root else f"{found.name}, {name}"
    return TranscribedTestSet(
        root=root,
        name=name,
        generated=generated,
        variant="transcripts",
        classes=(),
        speech=speech,
        source=source,
    )


def test_sets(source: Path) -> list[Path]:
    """Return the test sets of a source: of LibriSpeech every folder `test-...`, else the source."""
    if find_table(source) is not None:
        return [source]
    folders = sorted(path for path in source.glob("test-*") if path.is_dir())
    return folders if len(folders) > 1 else [source]
