"""Common parts of exports for other runtimes: metadata, the measured error, and its limit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor
from tqdm import tqdm

from ...common.errors import InputError
from ...common.extras import require_extra
from ..checkpoint import HeadConfig, check_weights, fingerprint
from ..exported import ExportedConfig, ExportedEncoder, StateError
from ..exported.config import ExportedType, Runtime
from ..exported.runtimes import EXTRAS
from ..inference import dense_copy
from ..model import SAMPLING_RATE, SpeechEncoder
from .target import ExportOptions, ExportTarget, Speech

Save = Callable[[Path, ExportedConfig], None]
"""Writes a converted model with its metadata to a path."""


class RuntimeTarget(ExportTarget):
    """A model for a runtime, compared with PyTorch before it gets its name."""

    runtime: ClassVar[Runtime]
    packages: ClassVar[tuple[str, ...]]
    """Packages whose versions are recorded."""
    measures = True

    @abstractmethod
    def convert(self, encoder: SpeechEncoder, options: ExportOptions) -> Save:
        """Convert the encoder, and return the function that saves the result."""

    @abstractmethod
    def temporary(self, output: Path) -> AbstractContextManager[Path]:
        """Return a temporary path that replaces `output` if the block succeeds."""

    def write(
        self, encoder: SpeechEncoder, output: Path, options: ExportOptions
    ) -> StateError | None:
        """See `ExportTarget.write`."""
        require_extra(EXTRAS[self.runtime], f"format {self.name}")
        check_weights(encoder, f"{output}: not written")
        self.check_dtype(options.dtype)
        config = self._config(encoder, options)
        save = self.convert(encoder, options)
        with self.temporary(output) as temporary:
            save(temporary, config)
            speech = self.measured_on(options)
            if speech is None:
                return None
            exported = ExportedEncoder(temporary, self.runtime)
            error = state_error(encoder, exported, speech, options.error_limit)
            if not error.mean <= options.error_limit:
                raise InputError(
                    f"{output}: not written: in {options.dtype} the hidden states have a relative "
                    f"error of {error.mean:.3g}, above the limit of {options.error_limit:g} "
                    f"(worst state {max(error.states):.3g}; {error.audio}); use another --dtype, "
                    "or raise --error-limit"
                )
            save(temporary, config.model_copy(update={"error": error}))
        return error

    def measured_on(self, options: ExportOptions) -> Speech | None:
        """Return the speech on which the model is measured; None: it is not measured."""
        return options.speech

    def next_step(self, encoder: SpeechEncoder, output: Path) -> str:
        """See `ExportTarget.next_step`."""
        return f"next: s3prl-compress time {output} --against MODEL --threads 1"

    def _config(self, encoder: SpeechEncoder, options: ExportOptions) -> ExportedConfig:
        head = encoder.head
        return ExportedConfig(
            runtime=self.runtime,
            dtype=cast(ExportedType, options.dtype),
            states=options.states,
            shape=encoder.shape,
            normalize=encoder.normalize,
            normalize_eps=encoder.normalize_eps,
            head=None if head is None else HeadConfig(vocabulary=head.vocabulary, blank=head.blank),
            encoder_sha256=fingerprint(encoder),
            provenance=encoder.provenance,
            packages={
                name: metadata.version(name) for name in ("torch", *self.packages, "s3prl_compress")
            },
        )


@torch.no_grad()
def state_error(
    encoder: SpeechEncoder, exported: ExportedEncoder, speech: Speech, limit: float
) -> StateError:
    """Compare an exported model's hidden states with the encoder's; see `StateError`.

    Raises:
        InputError: an utterance cannot be encoded.
    """
    reference = dense_copy(encoder)
    rows = [
        list(_errors(reference, exported, wave))
        for wave in tqdm(speech.waveforms, desc="measuring", unit="utterance", leave=False)
    ]
    errors = torch.tensor(rows, dtype=torch.float64)
    seconds = sum(len(wave) for wave in speech.waveforms) / SAMPLING_RATE
    return StateError(
        mean=float(errors.mean()),
        states=tuple(errors.mean(0).tolist()),
        worst=float(errors.mean(1).max()),
        limit=limit,
        audio=f"{len(rows)} utterances, {seconds:.0f} s, of {speech.source}",
        utterances=len(rows),
        seconds=seconds,
    )


def _errors(encoder: SpeechEncoder, exported: ExportedEncoder, wave: Tensor) -> Iterator[float]:
    """Yield the error of every exported state of one utterance."""
    theirs: Sequence[Tensor] = exported([wave])[0]
    ours = encoder([wave])[0][-len(theirs) :]
    for x, y in zip(ours, theirs, strict=True):
        yield relative_error(x[0], y[0])


def relative_error(x: Tensor, y: Tensor) -> float:
    """Return `|x - y| / |x|`, both less their mean over the first dimension."""
    x, y = (one.cpu().double() for one in (x, y))
    x, y = x - x.mean(0), y - y.mean(0)
    return float((x - y).norm() / x.norm())
