"""s3prl's keyword spotting, made repeatable and taught the declared variants of the task.

Imports s3prl: only ever used in the child process.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..scoring.corpora.audio import read_wave
from ..scoring.corpora.keywords import KS_CLASSES


def prepare(classes: Sequence[str]) -> None:
    """Change s3prl's `speech_commands` in this process, before its expert is built.

    Files come in sorted order, audio through `read_wave`, and `classes` are the task's. Classes
    other than Speech Commands' twelve may leave out silence and unknown words.
    """
    dataset: Any = importlib.import_module("s3prl.downstream.speech_commands.dataset")
    expert: Any = importlib.import_module("s3prl.downstream.speech_commands.expert")
    dataset.apply_effects_file = _read
    expert.SpeechCommandsDataset = _sorted_training(dataset.SpeechCommandsDataset)
    expert.SpeechCommandsTestingDataset = _sorted_testing(dataset.SpeechCommandsTestingDataset)
    if tuple(classes) != KS_CLASSES:
        _set_classes(dataset, expert, classes)


def _read(path: str, effects: Sequence[Sequence[str]]) -> tuple[Tensor, int]:
    """Stand where the dataset calls sox: [1, samples] and the rate."""
    return read_wave(path).unsqueeze(0), 16_000


def _sorted_training(base: Any) -> Any:
    class SortedTraining(base):
        data: list[tuple[str, Path]]
        sample_weights: list[float]

        def __init__(self, data_list: list[tuple[str, Path]], **kwargs: Any) -> None:
            super().__init__(data_list, **kwargs)
            order = sorted(range(len(self.data)), key=lambda index: _place(self.data[index]))
            self.data = [self.data[index] for index in order]
            self.sample_weights = [self.sample_weights[index] for index in order]

    return SortedTraining


def _sorted_testing(base: Any) -> Any:
    class SortedTesting(base):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.data.sort(key=_place)

    return SortedTesting


def _place(item: tuple[str, Path]) -> str:
    """Sort as `KeywordCorpus.items` does: by path as text, folder and file."""
    return "/".join(item[1].parts[-2:])


def _set_classes(dataset: Any, expert: Any, classes: Sequence[str]) -> None:
    # The list object is shared by both modules: changed in place, it changes for both.
    dataset.CLASSES[:] = classes
    assert expert.CLASSES is dataset.CLASSES
    base = dataset.SpeechCommandsBaseDataset
    original = base.__init__

    def initialise(self: Any) -> None:
        original(self)
        self.class_num = len(classes)
        # The training set compares every label with silence's; -1 never occurs.
        self.class2index.setdefault("_silence_", -1)

    base.__init__ = initialise
