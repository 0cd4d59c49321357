"""What s3prl's own command line lacks for the four tasks: SUPERB's configs, and mended traps.

For `s3prl_compress.run_downstream`, where the user and not our engine drives s3prl.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.errors import InputError
from ..common.files import write_atomically
from ..s3prl_bridge.downstream import module
from .asr.downstream import DICTIONARY, recognition_config
from .base.characters import dictionary_file
from .base.corpus import SPLITS
from .base.task import Settings, load_settings
from .base.transcripts import FOLDERS, TranscribedCorpus, bucket_table
from .er.downstream import emotion_config
from .ks.downstream import keyword_config
from .registry import open_corpus
from .sid.downstream import list_files_anew, speaker_config

_BOTH = ("dev", "test")
"""Evaluated during training, as in s3prl's own files."""

_LEARNING_RATE = 1e-4
"""Of s3prl's own files for these downstreams: a start for a search, and far from SID's best."""


@dataclass(frozen=True)
class Official:
    """SUPERB's config of a downstream, but for the places that only the user knows."""

    task: str
    """Ours, whose recipe `official` holds the settings."""
    places: tuple[str, ...]
    """Keys of `datarc` that the user must give."""
    config: Callable[[Settings, float], dict[str, Any]]

    def render(self) -> dict[str, Any]:
        """Return the config, with empty places, at the learning rate of s3prl's own file."""
        settings, _ = load_settings(self.task, "official", "s3prl")
        return self.config(settings, _LEARNING_RATE)


def _emotion(settings: Settings, rate: float) -> dict[str, Any]:
    config = emotion_config(settings, "", "", rate, splits=_BOTH)
    # s3prl takes the fold from here or, where there is none, from its flag -v.
    del config["downstream_expert"]["datarc"]["test_fold"]
    return config


OFFICIAL = {
    "speech_commands": Official(
        "ks",
        ("speech_commands_root", "speech_commands_test_root"),
        lambda settings, rate: keyword_config(settings, "", "", rate, splits=_BOTH),
    ),
    "voxceleb1": Official(
        "sid",
        ("file_path", "meta_data"),
        lambda settings, rate: speaker_config(settings, "", "", rate, splits=_BOTH),
    ),
    "emotion": Official("er", ("root", "meta_data"), _emotion),
    "asr": Official(
        "asr",
        ("libri_root",),
        lambda settings, rate: recognition_config(
            settings, rate, root="", tables="", dictionary=DICTIONARY
        ),
    ),
}
"""By the name of s3prl's downstream."""


def mend_downstreams() -> None:
    """Close the traps of s3prl's downstreams in this process; comes after `register`.

    Speaker identification's lists of files are made anew and at once (see `list_files_anew`), and
    where speech recognition's `char.dict` is not there, its content is ours.
    """
    list_files_anew()
    _check_selections()
    dictionary = module("asr.expert").Dictionary
    load = dictionary.load

    def load_or_supply(file: Any) -> Any:
        lacking = Path(file).name == DICTIONARY and not Path(file).is_file()
        return load(io.StringIO(dictionary_file()) if lacking else file)

    dictionary.load = staticmethod(load_or_supply)


def _check_selections() -> None:
    """Let `-s` and `-l` fail in one line where the upstream has no such state.

    s3prl takes all hidden states in place of a `-s` that is not there, with a warning among many
    lines.
    """
    runner: Any = importlib.import_module("s3prl.downstream.runner")

    class CheckingFeaturizer(runner.Featurizer):
        def _select_feature(self, features: dict[str, Any]) -> Any:
            try:
                return super()._select_feature(features)
            except IndexError:
                count = len(features[self.feature_selection])
                raise InputError(
                    f"-l {self.layer_selection}: the upstream has {count} hidden states, 0 to "
                    f"{count - 1}"
                ) from None

    def featurizer(upstream: Any, feature_selection: str, **options: Any) -> Any:
        built = CheckingFeaturizer(upstream, feature_selection, **options)
        if built.feature_selection != feature_selection:
            raise InputError(
                f"-s {feature_selection}: the upstream has no such state; leave it out for the "
                "weighted sum of all hidden states, or select one with -l NUMBER"
            )
        return built

    runner.Featurizer = featurizer


def write_bucket_tables(librispeech: Path, folder: Path) -> None:
    """Write the tables of lengths that s3prl's `asr` wants, whose script its wheel lacks.

    Raises:
        InputError: there is no LibriSpeech, or something in it cannot be used.
    """
    corpus = open_corpus(librispeech, "asr")
    assert isinstance(corpus, TranscribedCorpus)
    corpus.check()
    for split in SPLITS:
        write_atomically(folder / f"{FOLDERS[split]}.csv", bucket_table(corpus, split))
