"""Transcribed speech on disk, read exactly as s3prl's `asr` downstream reads LibriSpeech."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from ...audio.clips import SAMPLING_RATE, check_audio
from ...audio.reading import read_header
from ...audio.transcribed import read_transcripts
from ...common.errors import InputError
from ...common.faults import Faults
from .card import read_card
from .characters import plain_transcript, unsupported_characters
from .corpus import CARD_FILE, SPLITS, Corpus, Item, Split, progress

FOLDERS: dict[Split, str] = {
    "train": "train-clean-100",
    "dev": "dev-clean",
    "test": "test-clean",
}
"""Of LibriSpeech: the splits that SUPERB uses."""
SUFFIXES = (".flac", ".wav")
TRANSCRIPTS = "*/*/*.trans.txt"


@dataclass(frozen=True)
class TranscribedCorpus(Corpus):
    """LibriSpeech's layout: `<split>/<speaker>/<chapter>/<utterance>.flac` and, beside it,
    `<speaker>-<chapter>.trans.txt` with lines of an utterance's name and its words."""

    label_noun: ClassVar[str] = "transcript"
    """The name of an utterance's label in messages."""

    def read_labels(self, split: Split) -> dict[str, str]:
        """Read the labels of a split, by utterance name; transcripts are in upper case."""
        return _read_transcripts(self.split_folder(split))

    def label_files(self, split: Split) -> Iterable[Path]:
        """Yield the files that hold the labels of a split."""
        return self.split_folder(split).glob(TRANSCRIPTS)

    def check_label(self, label: str, name: str, faults: Faults) -> None:
        """Note in `faults` what is wrong with the label of the utterance `name`."""
        check_text(label, name, faults)

    def items(self, split: Split, fold: int = 0) -> list[Item]:
        """List the labelled utterances of a split, sorted by path.

        An utterance without a label is left out, as s3prl does; `check` refuses it.
        """
        labels, audio = self._found[split]
        return [
            Item(path, labels[name], self.relative(path), path.parent.parent.name)
            for name, path in sorted(audio.items(), key=lambda pair: self.relative(pair[1]))
            if name in labels
        ]

    def lengths(self, split: Split) -> list[int]:
        """Return every utterance's samples, in the order of `items`; only headers are read."""
        paths = [item.path for item in self.items(split)]
        return [read_header(path).frames for path in progress(paths, "lengths")]

    def utterance_name(self, item: Item) -> str:
        """Return the name of an utterance in predictions: its file's name without the suffix."""
        return item.path.stem

    def split_folder(self, split: Split) -> Path:
        """Return the folder of a split."""
        return self.root / FOLDERS[split]

    def check(self) -> None:
        """Raise one `InputError` that lists every fault; see `Corpus.check`."""
        faults = Faults()
        for split in SPLITS:
            if self.split_folder(split).is_dir():
                self._check_split(split, faults)
            else:
                faults.add("missing folder", FOLDERS[split])
        files = [path for split in SPLITS for path in self._found[split][1].values()]
        for path in progress(files, "checking the corpus"):
            check_audio(path, self.relative(path), faults, shortest=1, rate=SAMPLING_RATE)
            _check_name_and_channels(path, self.relative(path), faults)
        faults.raise_if_any(
            str(self.root), "fix or remove these, or write the corpus with `s3prl-compress prepare`"
        )

    def used_files(self) -> Iterable[Path]:
        """Yield every file that decides a score: recordings and labels."""
        yield from super().used_files()
        for split in SPLITS:
            yield from self.label_files(split)

    def _check_split(self, split: Split, faults: Faults) -> None:
        labels, audio = self._found[split]
        if not audio:
            faults.add("split without recordings", FOLDERS[split])
        for name in sorted(labels.keys() - audio.keys()):
            faults.add(f"{self.label_noun} without a recording", f"{FOLDERS[split]}: {name}")
        for name in sorted(audio.keys() - labels.keys()):
            faults.add(f"missing {self.label_noun}", self.relative(audio[name]))
        for name, label in sorted(labels.items()):
            self.check_label(label, f"{FOLDERS[split]}: {name}", faults)
        paths = _recordings(self.split_folder(split))
        for name, count in Counter(path.stem for path in paths).items():
            if count > 1:  # s3prl finds transcripts by it
                faults.add("name of several recordings", f"{FOLDERS[split]}: {name}", count=count)

    @cached_property
    def _found(self) -> dict[Split, tuple[dict[str, str], dict[str, Path]]]:
        """By split: labels by utterance name, and recordings by utterance name."""
        return {
            split: (
                self.read_labels(split),
                {path.stem: path for path in _recordings(self.split_folder(split))},
            )
            for split in SPLITS
        }


def open_transcripts(root: Path) -> TranscribedCorpus:
    """Find the parts of a corpus folder; `check` says whether they can be used.

    A folder that `prepare` wrote has a `corpus.json`; without one it is taken for LibriSpeech.
    """
    if (root / CARD_FILE).is_file():
        card = read_card(root, "asr")
        return TranscribedCorpus(
            root=root,
            name=card.name,
            generated=card.generated,
            variant=card.variant,
            classes=(),
        )
    if not any((root / folder).is_dir() for folder in FOLDERS.values()):
        inner = root / "LibriSpeech"
        hint = f"; give {inner}" if inner.is_dir() else ""
        raise InputError(
            f"{root}: no transcribed corpus: neither {CARD_FILE} (written by `prepare asr`) nor "
            f"LibriSpeech's folders {', '.join(FOLDERS.values())}{hint}"
        )
    return TranscribedCorpus(
        root=root,
        name="LibriSpeech train-clean-100",
        generated=False,
        variant="librispeech",
        classes=(),
    )


def bucket_table(corpus: TranscribedCorpus, split: Split) -> str:
    """Return the csv that s3prl's `asr` takes for a split: `,file_path,length,label`.

    Longest first; equal lengths in the order of their paths. s3prl sorts the table again, by an
    algorithm that leaves equal lengths in any order, so each length has a fraction below 1 that
    says its place: s3prl compares lengths with each other and with a bound, nothing else.
    """
    items, lengths = corpus.items(split), corpus.lengths(split)
    lines = [",file_path,length,label"]
    for place, index in enumerate(longest_first(lengths)):
        exact = lengths[index] + (len(lengths) - place - 1) / len(lengths)
        lines.append(f"{place},{items[index].relative},{exact!r},")
    return "\n".join(lines) + "\n"


def longest_first(lengths: list[int]) -> list[int]:
    """Return the indices of lengths, longest first, equal ones in the order in which they are."""
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])


def check_text(text: str, name: str, faults: Faults) -> None:
    """Add the faults of a transcript to `faults`."""
    if not text:
        faults.add("empty transcript", name)
    elif unsupported := unsupported_characters(text):
        faults.add("transcript with other characters than A-Z and '", f"{name} has {unsupported}")


def _check_name_and_channels(path: Path, name: str, faults: Faults) -> None:
    if "." in path.stem:
        faults.add("name with a dot, which s3prl cuts off", name)
    try:
        channels = read_header(path).channels
    except InputError:
        return  # noted already as unreadable
    if channels != 1:
        faults.add("more than one channel", f"{name} has {channels}")


def _recordings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*/*") if path.suffix in SUFFIXES)


def _read_transcripts(folder: Path) -> dict[str, str]:
    """Read all transcripts of a split, by utterance name."""
    texts: dict[str, str] = {}
    for path in sorted(folder.glob(TRANSCRIPTS)):
        if path.name != f"{path.parent.parent.name}-{path.parent.name}.trans.txt":
            continue  # s3prl opens no other name
        texts |= {name: plain_transcript(text) for name, text in read_transcripts(path).items()}
    return texts
