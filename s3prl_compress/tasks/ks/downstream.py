"""s3prl's keyword spotting, made repeatable, and extended to the variants of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...audio.clips import SAMPLING_RATE, read_wave
from ...s3prl_bridge.config import experiment, utterance_head
from ...s3prl_bridge.downstream import BOTH, Downstream, Prediction, module
from ..base.corpus import Corpus
from ..base.task import Settings
from .corpus import KS_CLASSES, KeywordCorpus


class KeywordSpotting(Downstream):
    """s3prl's `speech_commands`."""

    name = "speech_commands"
    places = ("speech_commands_root", "speech_commands_test_root")

    def config(
        self, corpus: Corpus, settings: Settings, learning_rate: float, *, fold: int, files: Path
    ) -> dict[str, Any]:
        """See `Downstream.config`."""
        assert isinstance(corpus, KeywordCorpus)
        roots = corpus.train_root.absolute(), corpus.test_root.absolute()
        return keyword_config(settings, *roots, learning_rate)

    def prepare(self, classes: Sequence[str]) -> None:
        """List files in sorted order, read them by `read_wave`, take the task's classes.

        Classes other than Speech Commands' twelve may leave out silence and unknown words.
        """
        dataset, expert = module("speech_commands.dataset"), module("speech_commands.expert")
        dataset.apply_effects_file = _read
        expert.SpeechCommandsDataset = _sorted_training(dataset.SpeechCommandsDataset)
        expert.SpeechCommandsTestingDataset = _sorted_testing(dataset.SpeechCommandsTestingDataset)
        if tuple(classes) != KS_CLASSES:
            _set_classes(dataset, expert, classes)

    def predictions(self, expert: Any, records: Mapping[str, list[Any]]) -> list[Prediction]:
        """See `Downstream.predictions`."""
        files = [str(path) for _, path in expert.test_dataset.data]
        return list(zip(files, records["truth"], records["predict"], strict=True))

    def notes(self, corpus: Corpus, settings: Settings, device: str) -> list[str]:
        """Note the changes to s3prl, a variant's classes, and the effect of reader processes."""
        notes = [
            "Files are listed in sorted order, where s3prl takes the file system's; audio is read "
            "by soundfile and torch in place of libsox (equal to 6e-8)."
        ]
        if corpus.variant != "official":
            notes.append(
                f"Declared variant of the task: the classes are {', '.join(corpus.classes)}; "
                "no silence, no unknown words."
            )
        if settings.num_workers:
            notes.append(
                f"{settings.num_workers} reader processes: they draw the crops of silence, so "
                "another number gives another run."
            )
        return notes

    def official_config(self, settings: Settings, learning_rate: float) -> dict[str, Any]:
        """See `Downstream.official_config`."""
        return keyword_config(settings, "", "", learning_rate, splits=BOTH)


def keyword_config(
    settings: Settings,
    train_root: Path | str,
    test_root: Path | str,
    learning_rate: float,
    splits: Sequence[str] = ("dev",),
) -> dict[str, Any]:
    """Return the config of s3prl's downstream `speech_commands`.

    `train_root` holds the word folders with `_background_noise_`, `test_root` the test classes;
    see `experiment` for the rest.
    """
    data = {
        "speech_commands_root": str(train_root),
        "speech_commands_test_root": str(test_root),
        "num_workers": settings.num_workers,
        "batch_size": settings.batch_size,
    }
    return experiment(
        settings, learning_rate, data=data, model=utterance_head(settings), splits=splits
    )


def _read(path: str, effects: Sequence[Sequence[str]]) -> tuple[Tensor, int]:
    """Replace the dataset's call of sox; return [1, samples] and the sampling rate."""
    return read_wave(path).unsqueeze(0), SAMPLING_RATE


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
