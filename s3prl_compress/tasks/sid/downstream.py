"""s3prl's speaker identification, for any list of speakers, without its cached file lists."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...audio.clips import SAMPLING_RATE
from ...common.errors import InputError
from ...s3prl_bridge.config import experiment, utterance_head
from ...s3prl_bridge.downstream import (
    BOTH,
    Downstream,
    Prediction,
    module,
    read_as_corpora_do,
)
from ..base.corpus import Corpus, Split
from ..base.task import Settings
from .corpus import SPLIT_NUMBERS, SpeakerCorpus


class SpeakerIdentification(Downstream):
    """s3prl's `voxceleb1`."""

    name = "voxceleb1"
    places = ("file_path", "meta_data")

    def config(
        self, corpus: Corpus, settings: Settings, learning_rate: float, *, fold: int, files: Path
    ) -> dict[str, Any]:
        """See `Downstream.config`."""
        assert isinstance(corpus, SpeakerCorpus)
        paths = corpus.audio_root.absolute(), corpus.split_file.absolute()
        return speaker_config(settings, *paths, learning_rate)

    def prepare(self, classes: Sequence[str]) -> None:
        """List files without s3prl's cache, and set the corpus's number of speakers."""
        read_as_corpora_do(module("voxceleb1.dataset"))
        list_files_afresh(len(classes))

    def predictions(self, expert: Any, records: Mapping[str, list[Any]]) -> list[Prediction]:
        """See `Downstream.predictions`."""
        truth, predicted = records["truth_speaker"], records["predict_speaker"]
        return list(zip(expert.test_dataset.dataset, truth, predicted, strict=True))

    def notes(self, corpus: Corpus, settings: Settings, device: str) -> list[str]:
        """Note the effect of reader processes."""
        if not settings.num_workers:
            return []
        return [
            f"{settings.num_workers} reader processes: they draw the crops of clips over "
            f"{settings.longest_seconds:g} s, so another number gives another run."
        ]

    def official_config(self, settings: Settings, learning_rate: float) -> dict[str, Any]:
        """See `Downstream.official_config`."""
        return speaker_config(settings, "", "", learning_rate, splits=BOTH)

    def patch_command_line(self) -> None:
        """Make the lists of files again for every run (see `list_files_afresh`)."""
        list_files_afresh()


def speaker_config(
    settings: Settings,
    audio_root: Path | str,
    split_file: Path | str,
    learning_rate: float,
    splits: Sequence[str] = ("dev",),
) -> dict[str, Any]:
    """Return the config of s3prl's downstream `voxceleb1`.

    Below `audio_root` lies `*/wav/<speaker>/<video>/<n>.wav`, and `split_file` lists the last
    three parts; see `experiment` for the rest.
    """
    data = {
        "file_path": str(audio_root),
        "meta_data": str(split_file),
        "num_workers": settings.num_workers,
        "train_batch_size": settings.batch_size,
        "eval_batch_size": 1,
        "max_timestep": round(settings.longest_seconds * SAMPLING_RATE),
    }
    return experiment(
        settings, learning_rate, data=data, model=utterance_head(settings), splits=splits
    )


def list_files_afresh(speakers: int | None = None) -> None:
    """Change s3prl's `voxceleb1` in this process.

    s3prl pickles each split's list of files into its own package, and takes whatever list lies
    there: a second corpus is silently ignored. Here the list is made again every time, in the same
    order, by testing each line's path instead of searching the tree once per line.

    `speakers`: how many there are, from id10001 on; None: VoxCeleb1's 1251.
    """
    dataset, expert = module("voxceleb1.dataset"), module("voxceleb1.expert")
    expert.SpeakerClassifiDataset = _fresh(dataset, dataset.SpeakerClassifiDataset, speakers)


def _fresh(dataset: Any, base: Any, speakers: int | None) -> Any:
    class FreshLists(base):
        root: Path
        speaker_num: int
        usage_list: list[str]

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            with tempfile.TemporaryDirectory(prefix="s3prl_compress_") as nowhere:
                dataset.CACHE_PATH = nowhere
                super().__init__(*args, **kwargs)
            self.speaker_num = speakers or self.speaker_num

        def train(self) -> list[str]:
            return _listed(self.usage_list, "train", self.root)

        def dev(self) -> list[str]:
            return _listed(self.usage_list, "dev", self.root)

        def test(self) -> list[str]:
            return _listed(self.usage_list, "test", self.root)

    return FreshLists


def _listed(lines: Sequence[str], split: Split, root: Path) -> list[str]:
    """Return the paths of a split's lines, in the list's order."""
    folders = sorted(folder for folder in root.glob("*/wav") if folder.is_dir())
    paths = []
    for line in lines:
        fields = line.split()
        if not fields or fields[0] != SPLIT_NUMBERS[split]:
            continue
        found = [folder / fields[1] for folder in folders if (folder / fields[1]).is_file()]
        if not found:
            raise InputError(f"{root}/*/wav/{fields[1]}: listed, but missing; correct the list")
        paths.append(str(found[0]))
    return paths
