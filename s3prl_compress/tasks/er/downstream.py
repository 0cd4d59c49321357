"""s3prl's emotion recognition: one run for each fold."""

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
from ..base.corpus import Corpus
from ..base.task import Settings
from .corpus import DEV_SHARE, EmotionCorpus

_EVALUATION_BATCH = 4
"""s3prl's own."""


class EmotionRecognition(Downstream):
    """s3prl's `emotion`."""

    name = "emotion"
    places = ("root", "meta_data")

    def config(
        self, corpus: Corpus, settings: Settings, learning_rate: float, *, fold: int, files: Path
    ) -> dict[str, Any]:
        """See `Downstream.config`."""
        assert isinstance(corpus, EmotionCorpus)
        paths = corpus.audio_root.absolute(), corpus.label_root.absolute()
        return emotion_config(settings, *paths, learning_rate, fold=fold)

    def prepare(self, classes: Sequence[str]) -> None:
        """Read audio by `read_samples`."""
        read_as_corpora_do(module("emotion.dataset"))

    def predictions(self, expert: Any, records: Mapping[str, list[Any]]) -> list[Prediction]:
        """See `Downstream.predictions`."""
        data = expert.test_dataset
        files = [str(Path(data.data_dir) / entry["path"]) for entry in data.meta_data]
        return list(zip(files, records["truth"], records["predict"], strict=True))

    def notes(self, corpus: Corpus, settings: Settings, device: str) -> list[str]:
        """Note the role of s3prl's own seed."""
        return [
            "s3prl's expert seeds torch with 0, and so gives every run the same head; here that "
            "seed decides the dev part only."
        ]

    def official_config(self, settings: Settings, learning_rate: float) -> dict[str, Any]:
        """See `Downstream.official_config`."""
        config = emotion_config(settings, "", "", learning_rate, splits=BOTH)
        # s3prl takes the fold from here or, if it is missing, from its flag -v.
        del config["downstream_expert"]["datarc"]["test_fold"]
        return config


def emotion_config(
    settings: Settings,
    audio_root: Path | str,
    label_root: Path | str,
    learning_rate: float,
    *,
    fold: int = 1,
    splits: Sequence[str] = ("dev",),
) -> dict[str, Any]:
    """Return the config of s3prl's downstream `emotion` for one fold.

    Below `audio_root` lies `Session<n>/...`, below `label_root` the lists
    `Session<fold>/train_meta_data.json` and `test_meta_data.json`; see `experiment` for the rest.
    """
    data = {
        "root": str(audio_root),
        "meta_data": str(label_root),
        "test_fold": f"fold{fold}",
        "pre_load": True,
        "num_workers": settings.num_workers,
        "train_batch_size": settings.batch_size,
        "eval_batch_size": _EVALUATION_BATCH,
        "valid_ratio": DEV_SHARE,
    }
    return experiment(
        settings, learning_rate, data=data, model=utterance_head(settings), splits=splits
    )
