"""`Downstream`, the adapter between a task and one of s3prl's downstreams."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from torch import Tensor

from ..audio.clips import SAMPLING_RATE, read_samples
from ..tasks.base.corpus import Corpus
from ..tasks.base.task import Settings

Prediction = tuple[str, str, str]
"""Path of the recording as s3prl knows it, truth, predicted."""


class Downstream(ABC):
    """Adapter for one of s3prl's downstreams. Its objects hold no state.

    A task names its adapter as "module:attribute" (`Task.downstream`), so that the child process
    can import it. The engine calls `config` and `notes`, which import nothing of s3prl; the child
    process calls `prepare` and `predictions`; `run_downstream`, s3prl's own command line, calls the
    rest.
    """

    name: ClassVar[str]
    """In `s3prl.downstream`."""
    dev_split: ClassVar[str] = "dev"
    """s3prl's name of the split that is evaluated during training."""
    test_split: ClassVar[str] = "test"
    percent: ClassVar[float] = 100.0
    """Factor from s3prl's best score to percent."""
    worst: ClassVar[float] = 0.0
    """Dev score in percent at which s3prl starts: it keeps a best checkpoint only beyond it."""
    section: ClassVar[str] = "datarc"
    """Section of `downstream_expert` in s3prl's config that says where the corpus lies."""
    places: ClassVar[tuple[str, ...]] = ()
    """Keys of `section` that the user of s3prl's own command line must give."""

    @property
    def best_file(self) -> str:
        """File name of the checkpoint that is best on dev."""
        return f"{self.dev_split}-best.ckpt"

    @abstractmethod
    def config(
        self, corpus: Corpus, settings: Settings, learning_rate: float, *, fold: int, files: Path
    ) -> dict[str, Any]:
        """Return s3prl's experiment config, with absolute paths.

        Args:
            corpus: that of this downstream's task.
            settings: from a recipe.
            learning_rate: one of the settings'.
            fold: one of the corpus's.
            files: folder of this corpus's own, for what s3prl wants to read beside the corpus.

        Raises:
            InputError: the corpus is not enough for the settings.
        """

    @abstractmethod
    def prepare(self, classes: Sequence[str]) -> None:
        """Change s3prl's modules in this process, before the expert is built."""

    @abstractmethod
    def predictions(self, expert: Any, records: Mapping[str, list[Any]]) -> list[Prediction]:
        """Pair the expert's test files with the records of an evaluation, in its order."""

    def notes(self, corpus: Corpus, settings: Settings, device: str) -> list[str]:
        """Return notes for readers of this downstream's scores, one sentence each."""
        return []

    def official_config(self, settings: Settings, learning_rate: float) -> dict[str, Any] | None:
        """Return the config for s3prl's own command line, with empty `places`.

        Evaluated on dev and test, as in s3prl's own files. None if there is none.
        """
        return None

    def complete_config(  # noqa: B027  # an optional hook
        self, config: dict[str, Any], given: Mapping[str, str], folder: Path
    ) -> None:
        """Add what s3prl's wheel lacks to an `official_config`.

        Args:
            config: changed in place.
            given: what the user says of `section`, by key.
            folder: of the experiment, for files that a resumed run needs again.

        Raises:
            InputError: the corpus is invalid.
        """

    def patch_command_line(self) -> None:  # noqa: B027  # an optional hook
        """Change s3prl's modules in the process of s3prl's own command line."""


BOTH = ("dev", "test")
"""Splits that s3prl's own configs evaluate during training."""


def module(name: str) -> Any:
    """Import a module of `s3prl.downstream`."""
    return importlib.import_module(f"s3prl.downstream.{name}")


def read_as_corpora_do(dataset: Any) -> None:
    """Let a dataset's module read audio by `read_samples` where it calls `torchaudio.load`."""
    dataset.torchaudio = SimpleNamespace(load=_load)


def _load(path: str) -> tuple[Tensor, int]:
    """Return [1, samples] and the rate."""
    return read_samples(path).unsqueeze(0), SAMPLING_RATE
