"""The data set for s3prl's `ctc` downstream. Imported only in the process that runs s3prl.

s3prl's own, `downstream/ctc/corpus/libriphone.py`, is missing from its wheel, and knows nothing
but flac files of LibriSpeech. This one has the same utterances in the same batches.
"""

from __future__ import annotations

import csv
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from typing import Any

from torch.utils.data import Dataset

from ...common.errors import InputError
from .batches import most_symbols_first, window

Utterance = tuple[str, list[int]]
"""Path of the recording, and the numbers of its symbols."""


class PhonemeDataset(Dataset[Utterance | list[Utterance]]):
    """Utterances, those with the most phonemes first; for training, batches of neighbours.

    Args:
        table: csv file with the columns path and phonemes.
        tokenizer: s3prl's text encoder.
        bucket_size: utterances of a batch; 1 for single ones.
        others: further keys of s3prl's config, which mean nothing here.
    """

    def __init__(self, table: str, tokenizer: Any, bucket_size: int, **others: Any) -> None:
        if not isinstance(table, str):
            raise InputError(
                "a config for s3prl's own data set of phonemes, which its wheel lacks; leave out "
                "-c, and give a corpus that `s3prl-compress prepare pr` wrote"
            )
        with open(table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        targets = [tokenizer.encode(row["phonemes"]) for row in rows]
        order = most_symbols_first([len(target) for target in targets])
        self._utterances = [(rows[index]["path"], targets[index]) for index in order]
        self._size = bucket_size

    def __len__(self) -> int:
        """Return the number of utterances, which is also that of the batches of an epoch."""
        return len(self._utterances)

    def __getitem__(self, index: int) -> Utterance | list[Utterance]:
        """Return an utterance or, for training, the batch that begins with it."""
        if self._size == 1:
            return self._utterances[index]
        places = window(len(self._utterances), index, self._size)
        return [self._utterances[place] for place in places]


def supply_dataset() -> None:
    """Let s3prl find this data set where it looks for its own."""
    name = "s3prl.downstream.ctc.corpus.libriphone"
    module = module_from_spec(ModuleSpec(name, loader=None))
    module.__dict__["LibriPhoneDataset"] = PhonemeDataset
    sys.modules[name] = module
