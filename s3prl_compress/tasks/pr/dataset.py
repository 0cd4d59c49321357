"""A stand-in for s3prl's `downstream/ctc/corpus/libriphone.py`, which its wheel lacks.

It does what that module does in s3prl's repository, from the same arguments. Imported only in the
process that runs s3prl.
"""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from .batches import most_symbols_first, window
from .lexicon import read_lexicon

MODULE = "s3prl.downstream.ctc.corpus.libriphone"

Utterance = tuple[str, list[int]]
"""Path of the recording, and the numbers of its symbols."""


class LibriPhoneDataset(Dataset):  # type: ignore[type-arg]
    """Utterances, those with the most phonemes first; for training, batches of neighbours.

    Args:
        split_csv: file below `csv_dir` with the columns wav_path and transcription.
        tokenizer: s3prl's text encoder.
        bucket_size: utterances of a batch; 1 for single ones.
        lexicon: files of words and their phonemes.
        csv_dir: folder.
        others: further keys of s3prl's config, which mean nothing here.
    """

    def __init__(
        self,
        split_csv: str,
        tokenizer: Any,
        bucket_size: int,
        lexicon: Sequence[str],
        csv_dir: str,
        **others: Any,
    ) -> None:
        pronunciations = read_lexicon(map(Path, lexicon))
        with open(Path(csv_dir) / split_csv, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        targets = [
            tokenizer.encode(
                " ".join(
                    phoneme
                    for word in row["transcription"].split()
                    for phoneme in pronunciations[word]
                )
            )
            for row in rows
        ]
        order = most_symbols_first([len(target) for target in targets])
        self._utterances = [(rows[index]["wav_path"], targets[index]) for index in order]
        self._size = bucket_size

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: int) -> Utterance | list[Utterance]:
        if self._size == 1:
            return self._utterances[index]
        places = window(len(self._utterances), index, self._size)
        return [self._utterances[place] for place in places]


def supply_dataset() -> bool:
    """Put the stand-in where s3prl has no dataset of its own; return whether it did."""
    try:
        importlib.import_module(MODULE)
        return False
    except ImportError:
        module = module_from_spec(ModuleSpec(MODULE, loader=None))
        module.__dict__["LibriPhoneDataset"] = LibriPhoneDataset
        sys.modules[MODULE] = module
        return True
