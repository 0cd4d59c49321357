"""s3prl's intent classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...s3prl_bridge.config import experiment, utterance_head
from ...s3prl_bridge.downstream import (
    BOTH,
    Downstream,
    Prediction,
    module,
    read_as_corpora_do,
)
from ..base.corpus import LABEL_SEPARATOR, Corpus
from ..base.task import Settings

_EVALUATION_BATCH = 32
"""s3prl's own."""


class IntentClassification(Downstream):
    """s3prl's `fluent_commands`: an utterance is right if all three slots are."""

    name = "fluent_commands"
    places = ("file_path",)

    def config(
        self, corpus: Corpus, settings: Settings, learning_rate: float, *, fold: int, files: Path
    ) -> dict[str, Any]:
        """See `Downstream.config`."""
        return intent_config(settings, corpus.root.absolute(), learning_rate)

    def prepare(self, classes: Sequence[str]) -> None:
        """Read audio by `read_samples`."""
        read_as_corpora_do(module("fluent_commands.dataset"))

    def predictions(self, expert: Any, records: Mapping[str, list[Any]]) -> list[Prediction]:
        """See `Downstream.predictions`."""
        data = expert.test_dataset
        files = [str(Path(data.base_path) / path) for path in data.df["path"]]
        truth = [LABEL_SEPARATOR.join(values) for values in records["truth"]]
        predicted = [LABEL_SEPARATOR.join(values) for values in records["predict"]]
        return list(zip(files, truth, predicted, strict=True))

    def official_config(self, settings: Settings, learning_rate: float) -> dict[str, Any]:
        """See `Downstream.official_config`."""
        return intent_config(settings, "", learning_rate, splits=BOTH)


def intent_config(
    settings: Settings, root: Path | str, learning_rate: float, splits: Sequence[str] = ("dev",)
) -> dict[str, Any]:
    """Return the config of s3prl's downstream `fluent_commands`.

    `root` holds `data/{train,valid,test}_data.csv` and the recordings that these list; see
    `experiment` for the rest.
    """
    data = {
        "file_path": str(root),
        "num_workers": settings.num_workers,
        "train_batch_size": settings.batch_size,
        "eval_batch_size": _EVALUATION_BATCH,
    }
    return experiment(
        settings, learning_rate, data=data, model=utterance_head(settings), splits=splits
    )
