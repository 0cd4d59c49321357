"""s3prl's phoneme recognition: its `ctc` downstream with the settings of `libriphone.yaml`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...audio.table import Split
from ...common.files import write_atomically
from ...s3prl_bridge.config import experiment
from ...s3prl_bridge.downstream import Downstream, Prediction, module, read_as_corpora_do
from ..base.corpus import SPLITS, Corpus
from ..base.task import Settings
from .phonemes import vocabulary_file

VOCABULARY = "phoneme.txt"
"""In s3prl's repository beside its `ctc` downstream; the wheel has none."""


class PhonemeRecognition(Downstream):
    """s3prl's `ctc` on phonemes, decoded greedily."""

    name = "ctc"
    percent, worst = 100.0, 100.0 * 2**31

    def config(
        self, corpus: Corpus, settings: Settings, learning_rate: float, *, fold: int, files: Path
    ) -> dict[str, Any]:
        """See `Downstream.config`; writes the tables of utterances and the vocabulary."""
        for split in SPLITS:
            path = files / _table(split)
            if not path.is_file():
                write_atomically(path, phoneme_table(corpus, split))
        write_atomically(files / VOCABULARY, vocabulary_file(corpus.classes))
        return _config(settings, learning_rate, files.absolute())

    def prepare(self, classes: Sequence[str]) -> None:
        """Read audio by `read_samples`, and supply what the wheel lacks."""
        from .dataset import supply_dataset

        supply_dataset()
        read_as_corpora_do(module("ctc.data"))
        expert = module("ctc.expert")
        load_dataset = expert.load_dataset

        def load_with_all_settings(split: str, tokenizer: Any, corpus: Mapping[str, Any]) -> Any:
            # s3prl takes num_workers out of its config at the first call, and has 12 from then on.
            return load_dataset(split, tokenizer, dict(corpus))

        expert.load_dataset = load_with_all_settings

    def predictions(self, expert: Any, records: Mapping[str, list[Any]]) -> list[Prediction]:
        """See `Downstream.predictions`."""
        with open(expert.corpus[self.test_split], newline="", encoding="utf-8") as file:
            paths = [row["path"] for row in csv.DictReader(file)]
        by_name = {Path(path).stem: path for path in paths}
        files = [by_name[name] for name in records["filename"]]
        return list(zip(files, records["groundtruth"], records["hypothesis"], strict=True))

    def notes(self, corpus: Corpus, settings: Settings, device: str) -> list[str]:
        """Return what a GPU does not repeat."""
        if device == "cpu":
            return []
        return [
            "On a GPU the gradients of CTC are summed in no fixed order: a repeated run differs "
            "a little."
        ]


def phoneme_table(corpus: Corpus, split: Split) -> str:
    """Return the csv that `PhonemeDataset` takes for a split, in the order of the items."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "phonemes"))
    for item in corpus.items(split):
        writer.writerow((item.path.absolute(), item.label))
    return text.getvalue()


def _config(settings: Settings, learning_rate: float, files: Path) -> dict[str, Any]:
    config = experiment(settings, learning_rate, data={}, model={}, splits=["dev"])
    config["downstream_expert"] = {
        "corpus": {
            "name": "libriphone",
            **{split: str(files / _table(split)) for split in SPLITS},
            "bucketing": True,
            "batch_size": settings.batch_size,
            "num_workers": settings.num_workers,
        },
        "text": {"mode": "word", "vocab_file": str(files / VOCABULARY)},
        "model": {
            "project_dim": settings.projector_dim,
            "zero_infinity": True,
            "select": "FrameLevel",
        },
        "save_best_on": ["dev"],
        "metric": ["per"],
        "metric_higher_better": False,
    }
    return config


def _table(split: str) -> str:
    return f"{split}.csv"
