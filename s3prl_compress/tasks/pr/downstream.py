"""s3prl's phoneme recognition: its `ctc` downstream with the settings of `libriphone.yaml`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...audio.table import Split
from ...common.errors import InputError
from ...common.files import write_atomically
from ...s3prl_bridge.config import experiment
from ...s3prl_bridge.downstream import (
    BOTH,
    Downstream,
    Prediction,
    module,
    read_as_corpora_do,
)
from ..base.corpus import SPLITS, Corpus
from ..base.task import Settings
from .corpus import open_phonemes
from .phonemes import vocabulary_file

VOCABULARY = "phoneme.txt"
"""In s3prl's repository beside its `ctc` downstream; the wheel has none."""
_LEARNING_RATE = 1e-2
"""Of s3prl's `libriphone.yaml`."""


class PhonemeRecognition(Downstream):
    """s3prl's `ctc` on phonemes, decoded greedily."""

    name = "ctc"
    section, places = "corpus", ("path",)
    # s3prl starts from an error rate that no head reaches, so that it always keeps a best one.
    percent, worst = 100.0, 100.0 * 2**31

    def config(
        self, corpus: Corpus, settings: Settings, learning_rate: float, *, fold: int, files: Path
    ) -> dict[str, Any]:
        """See `Downstream.config`; writes the tables of utterances and the vocabulary."""
        _write_files(corpus, files)
        return _config(settings, learning_rate, files.absolute(), ["dev"])

    def prepare(self, classes: Sequence[str]) -> None:
        """Read audio by `read_samples`, and supply what the wheel lacks."""
        read_as_corpora_do(module("ctc.data"))
        _complete_s3prl()

    def official_config(self, settings: Settings, learning_rate: float) -> dict[str, Any]:
        """See `Downstream.official_config`; `path` is that of a corpus that `prepare pr` wrote.

        At the learning rate of s3prl's own file, not at the one that is given.
        """
        config = _config(settings, _LEARNING_RATE, Path(), BOTH)
        config["downstream_expert"]["corpus"]["path"] = ""
        return config

    def complete_config(
        self, config: dict[str, Any], given: Mapping[str, str], folder: Path
    ) -> None:
        """Write the tables of utterances and the vocabulary of the corpus."""
        root = Path(given["path"])
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; give a corpus that `prepare pr` wrote")
        corpus = open_phonemes(root)
        corpus.check()
        files = (folder / "phonemes").absolute()
        _write_files(corpus, files)
        expert = config["downstream_expert"]
        expert["corpus"] |= _tables(files)
        expert["text"]["vocab_file"] = str(files / VOCABULARY)

    def patch_command_line(self) -> None:
        """Supply what the wheel lacks."""
        _complete_s3prl()

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


def _write_files(corpus: Corpus, files: Path) -> None:
    for split in SPLITS:
        write_atomically(files / f"{split}.csv", phoneme_table(corpus, split))
    write_atomically(files / VOCABULARY, vocabulary_file(corpus.classes))


def _tables(files: Path) -> dict[str, str]:
    return {split: str(files / f"{split}.csv") for split in SPLITS}


def _config(
    settings: Settings, learning_rate: float, files: Path, splits: Sequence[str]
) -> dict[str, Any]:
    config = experiment(settings, learning_rate, data={}, model={}, splits=splits)
    config["downstream_expert"] = {
        "corpus": {
            "name": "libriphone",
            **_tables(files),
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


def _complete_s3prl() -> None:
    """Supply the data set, and let all loaders have the settings' number of workers."""
    from .dataset import supply_dataset

    supply_dataset()
    expert = module("ctc.expert")
    load_dataset = expert.load_dataset

    def load_with_all_settings(split: str, tokenizer: Any, corpus: Mapping[str, Any]) -> Any:
        # s3prl takes num_workers out of its config at the first call, and has 12 from then on.
        return load_dataset(split, tokenizer, dict(corpus))

    expert.load_dataset = load_with_all_settings
