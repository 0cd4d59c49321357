"""s3prl's speech recognition: the tables and the dictionary that its wheel lacks."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...common.errors import InputError
from ...common.files import write_atomically
from ...s3prl_bridge.config import experiment
from ...s3prl_bridge.downstream import Downstream, Prediction, module, read_as_corpora_do
from ..base.characters import dictionary_file
from ..base.corpus import SPLITS, Corpus
from ..base.task import RecognitionHead, Settings
from ..base.transcripts import FOLDERS, TranscribedCorpus, bucket_table, open_transcripts

DICTIONARY = "char.dict"
"""In s3prl's repository beside its `asr` downstream; the wheel has none."""
_SPECAUG = {
    "adaptive": False,
    "apply_time_warp": True,
    "apply_time_mask": True,
    "apply_freq_mask": True,
    "time_warp_window": 5,
    "time_mask_width_range": [0, 40],
    "freq_mask_width_range": [0, 50],
    "num_freq_mask": 4,
    "num_time_mask": 2,
}
"""s3prl's own values; our recipes only switch it on or off."""


class SpeechRecognition(Downstream):
    """s3prl's `asr`, decoded greedily: no language model, and no import of one."""

    name = "asr"
    places = ("libri_root",)
    dev_split, test_split = "dev-clean", "test-clean"
    percent, worst = 1.0, 100.0

    def config(
        self, corpus: Corpus, settings: Settings, learning_rate: float, *, fold: int, files: Path
    ) -> dict[str, Any]:
        """See `Downstream.config`; writes the tables of lengths and the dictionary."""
        assert isinstance(corpus, TranscribedCorpus)
        for split in SPLITS:
            _require(corpus, split, settings.batch_size if split == "train" else 1)
            table = files / f"{FOLDERS[split]}.csv"
            if not table.is_file():
                write_atomically(table, bucket_table(corpus, split))
        write_atomically(files / DICTIONARY, dictionary_file())
        return recognition_config(
            settings,
            learning_rate,
            root=corpus.root.absolute(),
            tables=files.absolute(),
            dictionary=files.absolute() / DICTIONARY,
        )

    def prepare(self, classes: Sequence[str]) -> None:
        """Read audio by `read_samples`."""
        read_as_corpora_do(module("asr.dataset"))

    def predictions(self, expert: Any, records: Mapping[str, list[Any]]) -> list[Prediction]:
        """See `Downstream.predictions`; texts in upper case."""
        dataset = getattr(expert, f"{self.test_split}_dataset")
        files = [str(Path(dataset.libri_root) / file) for bucket in dataset.X for file in bucket]
        truth = [" ".join(words) for words in records["target_words"]]
        predicted = [" ".join(words) for words in records["pred_words"]]
        return list(zip(files, truth, predicted, strict=True))

    def notes(self, corpus: Corpus, settings: Settings, device: str) -> list[str]:
        """Note the utterance that s3prl leaves out, and why runs on a GPU are not repeatable."""
        notes = []
        if settings.batch_size > 1 and len(corpus.items("train")) % settings.batch_size == 1:
            notes.append(
                "The shortest training utterance is left out: s3prl drops a last batch of one."
            )
        if device != "cpu":
            notes.append(
                "On a GPU the gradients of CTC are summed in no fixed order: a repeated run "
                "differs a little."
            )
        return notes

    def official_config(self, settings: Settings, learning_rate: float) -> dict[str, Any]:
        """See `Downstream.official_config`."""
        return recognition_config(
            settings, learning_rate, root="", tables="", dictionary=DICTIONARY
        )

    def complete_config(
        self, config: dict[str, Any], given: Mapping[str, str], folder: Path
    ) -> None:
        """Write the tables of lengths, unless the user has some: s3prl's wheel lacks the script."""
        if "bucket_file" in given:
            return
        tables = (folder / "len_for_bucket").absolute()
        write_bucket_tables(Path(given["libri_root"]), tables)
        config["downstream_expert"]["datarc"]["bucket_file"] = str(tables)

    def patch_command_line(self) -> None:
        """Supply the content of `char.dict` where that file is missing."""
        dictionary = module("asr.expert").Dictionary
        load = dictionary.load

        def load_or_supply(file: Any) -> Any:
            missing = Path(file).name == DICTIONARY and not Path(file).is_file()
            return load(io.StringIO(dictionary_file()) if missing else file)

        dictionary.load = staticmethod(load_or_supply)


def write_bucket_tables(librispeech: Path, folder: Path) -> None:
    """Write the tables of lengths that s3prl's `asr` reads.

    Raises:
        InputError: there is no LibriSpeech, or something in it cannot be used.
    """
    if not librispeech.is_dir():
        raise InputError(f"{librispeech}: no such folder; give the folder LibriSpeech")
    corpus = open_transcripts(librispeech)
    corpus.check()
    for split in SPLITS:
        write_atomically(folder / f"{FOLDERS[split]}.csv", bucket_table(corpus, split))


def recognition_config(
    settings: Settings,
    learning_rate: float,
    *,
    root: Path | str,
    tables: Path | str,
    dictionary: Path | str,
) -> dict[str, Any]:
    """Return the config of s3prl's downstream `asr`.

    Args:
        settings: from a recipe.
        learning_rate: one of the settings'.
        root: the folder `LibriSpeech`.
        tables: folder of a csv of lengths for each split, see `bucket_table`.
        dictionary: see `dictionary_file`.
    """
    head = settings.recognition or RecognitionHead()
    data = {
        "train": [FOLDERS["train"]],
        "dev-clean": [FOLDERS["dev"]],
        "test-clean": [FOLDERS["test"]],
        "num_workers": settings.num_workers,
        "batch_size": settings.batch_size,
        "eval_batch_size": 1,
        "libri_root": str(root),
        "bucket_file": str(tables),
        "dict_path": str(dictionary),
        "zero_infinity": True,
        "decoder_args": {"decoder_type": "None"},
    }
    config = experiment(
        settings, learning_rate, data=data, model=_model(head), splits=[FOLDERS["dev"]]
    )
    if head.specaug:
        config["specaug"] = dict(_SPECAUG)
    return config


def _model(head: RecognitionHead) -> dict[str, Any]:
    layers = head.rnn_layers
    return {
        "project_dim": head.project_dim,
        "select": "RNNs",
        "RNNs": {
            "total_rate": -1,
            "module": "LSTM",
            "bidirection": True,
            "dim": [head.rnn_dim] * layers,
            "dropout": [head.dropout] * layers,
            "layer_norm": [False] * layers,
            "proj": [False] * layers,
            "sample_rate": [1] * layers,
            "sample_style": "concat",
        },
    }


def _require(corpus: TranscribedCorpus, split: Any, batch_size: int) -> None:
    """Refuse a split of which s3prl would make no batch; its training would then never end."""
    count = len(corpus.items(split))
    least = 2 if batch_size > 1 else 1
    if count < least:
        raise InputError(
            f"{corpus.root}: {split} has {count} utterances, and s3prl makes batches of "
            f"{batch_size}: it needs {least}"
        )
