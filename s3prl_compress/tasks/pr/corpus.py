"""Speech with phonemes on disk: LibriSpeech's layout, and a list of phonemes for each split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...audio.table import Split
from ...audio.transcribed import read_transcripts
from ...common.errors import InputError
from ...common.faults import Faults
from ..base.card import read_card
from ..base.corpus import CARD_FILE
from ..base.transcripts import FOLDERS, TranscribedCorpus


@dataclass(frozen=True)
class PhonemeCorpus(TranscribedCorpus):
    """Recordings as in LibriSpeech, and `phonemes/<split>.txt`.

    Each line of a list is an utterance's name and its phonemes, separated by spaces. `classes` is
    the inventory, in the order of the logits behind s3prl's own symbols.
    """

    label_noun: ClassVar[str] = "line of phonemes"

    def read_labels(self, split: Split) -> dict[str, str]:
        """Read the phonemes of a split, by utterance name; empty where there is no list."""
        return {
            name: " ".join(label.split())
            for path in self.label_files(split)
            for name, label in read_transcripts(path).items()
        }

    def label_files(self, split: Split) -> Iterable[Path]:
        """Yield the list of a split, where it is there."""
        path = self.root / phoneme_list(split)
        if path.is_file():
            yield path

    def check_label(self, label: str, name: str, faults: Faults) -> None:
        """Note in `faults` what is wrong with an utterance's phonemes."""
        if not label:
            faults.add("empty line of phonemes", name)
        elif unknown := sorted(set(label.split()) - set(self.classes)):
            faults.add(f"phoneme that {CARD_FILE} does not list", f"{name} has {unknown[0]}")


def phoneme_list(split: Split) -> str:
    """Return where the phonemes of a split are, below the corpus folder."""
    return f"phonemes/{FOLDERS[split]}.txt"


def open_phonemes(root: Path) -> PhonemeCorpus:
    """Find the parts of a corpus folder; `check` says whether they can be used."""
    if not (root / CARD_FILE).is_file():
        raise InputError(
            f"{root}: no corpus of phonemes ({CARD_FILE} is missing); write one with "
            "`s3prl-compress prepare pr`, from a table or from the folder of LibriSpeech"
        )
    card = read_card(root, "pr")
    return PhonemeCorpus(
        root=root,
        name=card.name,
        generated=card.generated,
        variant=card.variant,
        classes=card.classes,
    )
