"""The interface of a format of whole Whisper models, and the error that all of them measure."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ...common.errors import InputError
from ...common.extras import Extra, require_extra
from ...common.files import folder_atomically
from ...common.validation import check_folder_output
from ...encoder.exported import StateError
from ...encoder.exporters import Speech
from ...encoder.exporters.runtime import relative_error
from ...encoder.model import SAMPLING_RATE
from ..cost import window_samples
from ..model import Whisper
from ..recognition import decoder_prompt
from ..tokenizer import feature_extractor

FACTS_FILE = "s3prl_compress.json"
"""History, number format and measured error, beside the files of the format."""

_EXTRACTOR_FILE = "preprocessor_config.json"
_KEPT_FILES = ("tokenizer.json", _EXTRACTOR_FILE, "generation_config.json")

Array = NDArray[np.float32]
Run = Callable[[Array, Sequence[int]], tuple[Array, Array]]
"""From the log-mel features of one window [1, bins, frames] and the first tokens of a text to the
encoder's output [1, positions, hidden] and the logits of the next token [vocabulary]."""


class WhisperTarget(ABC):
    """A form in which a Whisper model, encoder and decoder, can be written to a folder."""

    name: ClassVar[str]
    """Value of `export --format`."""
    summary: ClassVar[str]
    """One line for `ls formats`."""
    dtypes: ClassVar[tuple[str, ...]]
    """Number formats in which it can be written."""
    extra: ClassVar[Extra]
    """The extra of this package that it needs."""
    packages: ClassVar[tuple[str, ...]]
    """Packages whose versions are recorded."""

    @abstractmethod
    def convert(self, whisper: Whisper, folder: Path, dtype: str, dense: bool, name: str) -> Run:
        """Write the model into an empty folder, and return a function that runs what was written.

        Args:
            whisper: the model; it is not changed.
            folder: an empty folder.
            dtype: one of `dtypes`.
            dense: write low-rank linears as dense ones, where the form has no others.
            name: of the model, for messages.

        Raises:
            InputError: the form cannot hold this model.
        """

    def notes(self, whisper: Whisper) -> tuple[str, ...]:
        """Return what a user of the export has to know, one sentence each."""
        return ()

    @abstractmethod
    def next_step(self, output: Path) -> str:
        """Return how to load the export, in one line."""

    def check(self, output: Path, dtype: str) -> None:
        """Check, before any work, what can be checked without the model.

        Raises:
            InputError: a package is missing, there is no such number format, or the folder holds
                something else than an earlier export.
        """
        require_extra(self.extra, f"format {self.name}")
        if dtype not in self.dtypes:
            raise InputError(
                f"dtype {dtype}: of Whisper models, {self.name} is written as "
                f"{' or '.join(self.dtypes)}"
            )
        check_folder_output(output)
        if output.is_dir() and any(output.iterdir()) and not (output / FACTS_FILE).is_file():
            raise InputError(f"{output}: exists and is not an earlier export; choose another name")

    def write(
        self,
        whisper: Whisper,
        output: Path,
        *,
        dtype: str,
        dense: bool,
        speech: Speech,
        error_limit: float,
        name: str = "the model",
    ) -> StateError:
        """Write a model, completely or not at all; return the measured error.

        Args:
            whisper: the model; it is not changed.
            output: a new or empty folder, or an earlier export.
            dtype: see `convert`, as for `dense`.
            dense: see there.
            speech: recordings on which the written model is compared with PyTorch in float32.
            error_limit: largest mean error with which it is written.
            name: of the model, for messages.

        Returns:
            The relative errors of the encoder's output and of the first token's logits, on one
            window of the speech.

        Raises:
            InputError: the form cannot hold this model, or the error is above the limit.
        """
        self.check(output, dtype)
        with folder_atomically(output) as temporary:
            run = self.convert(whisper, temporary, dtype, dense, name)
            _write_companions(whisper, temporary, name)
            error = _error(whisper, run, speech, error_limit, name)
            if not error.mean <= error_limit:
                raise InputError(
                    f"{output}: not written: in {dtype}, encoder and logits have a relative error "
                    f"of {error.mean:.3g}, above the limit of {error_limit:g} ({error.audio}); use "
                    "another --dtype, or raise --error-limit"
                )
            facts = {
                "format": self.name,
                "dtype": dtype,
                "error": error.model_dump(mode="json"),
                "provenance": whisper.provenance.model_dump(mode="json"),
                "packages": {
                    package: metadata.version(package)
                    for package in (*self.packages, "torch", "s3prl_compress")
                },
            }
            text = json.dumps(facts, indent=2) + "\n"
            (temporary / FACTS_FILE).write_text(text, encoding="utf-8")
        return error


def _write_companions(whisper: Whisper, folder: Path, name: str) -> None:
    """Write what programs need beside the weights, except for files that are there already."""
    for file in _KEPT_FILES:
        if file in whisper.files:
            (folder / file).write_bytes(whisper.files[file])
    if _EXTRACTOR_FILE not in whisper.files:
        feature_extractor(whisper, name).save_pretrained(folder)


@torch.no_grad()
def _error(whisper: Whisper, run: Run, speech: Speech, limit: float, name: str) -> StateError:
    """Compare encoder and logits with PyTorch's on one window of speech."""
    window = window_samples(whisper.shape)
    wave = torch.cat([*speech.waveforms])[:window]
    extractor = cast(Any, feature_extractor(whisper, name))
    features = extractor(
        wave.numpy(), sampling_rate=SAMPLING_RATE, max_length=window, return_tensors="pt"
    )["input_features"]
    prompt = _prompt(whisper, name)
    model, device = cast(Any, whisper.model), whisper.device
    states = model.model.encoder(features.to(device))
    tokens = torch.tensor([prompt], device=device)
    logits = model(encoder_outputs=states, decoder_input_ids=tokens).logits[0, -1]
    own_states, own_logits = run(features.numpy(), prompt)
    errors = (
        relative_error(states.last_hidden_state[0], torch.from_numpy(own_states)[0]),
        relative_error(logits, torch.from_numpy(own_logits)),
    )
    seconds = len(wave) / SAMPLING_RATE
    mean = sum(errors) / len(errors)
    return StateError(
        mean=mean,
        states=errors,
        worst=mean,  # there is but one utterance
        limit=limit,
        audio=f"{seconds:.0f} s of {speech.source}",
        utterances=1,
        seconds=seconds,
    )


def _prompt(whisper: Whisper, name: str) -> list[int]:
    """Return the first tokens: the start, language and task if there are any, no time stamps."""
    generation: Any = whisper.model.generation_config
    asked = decoder_prompt(whisper, None, name)
    prompt = [generation.decoder_start_token_id]
    if "language" in asked:
        prompt.append(generation.lang_to_id[f"<|{asked['language']}|>"])
        prompt.append(generation.task_to_id[asked["task"]])
    mark = getattr(generation, "no_timestamps_token_id", None)
    return prompt if mark is None else [*prompt, mark]
