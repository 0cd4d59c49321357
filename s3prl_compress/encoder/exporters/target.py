"""The interface of an export target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from ...common.errors import InputError
from ..exported import StateError
from ..model import SpeechEncoder

ERROR_LIMIT = 0.05
"""Largest mean state error with which a model is written by default."""


@dataclass(frozen=True)
class Speech:
    """Speech on which an exported model is compared with its encoder."""

    waveforms: Sequence[Tensor]
    """1-D, at 16 kHz."""
    source: str
    """Where it is from, in words."""


@dataclass(frozen=True)
class ExportOptions:
    """How an encoder is to be written."""

    dtype: str = "float32"
    """One of the target's `dtypes`."""
    dense: bool = False
    """Write compressed layers as the dense layers that compute the same; has no effect where the
    form can hold them as they are."""
    states: Literal["all", "last"] = "all"
    """Which hidden states a model for a runtime returns."""
    speech: Speech | None = None
    """For targets that measure; None: nothing is measured."""
    error_limit: float = ERROR_LIMIT
    """Largest mean state error with which a model is written."""


class ExportTarget(ABC):
    """A form in which an encoder can be written to disk."""

    name: ClassVar[str]
    """Value of `export --format`."""
    summary: ClassVar[str]
    """One line for `ls formats`."""
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float16")
    """Number formats in which it can be written."""
    measures: ClassVar[bool] = False
    """Whether `write` compares the hidden states with those of the encoder."""

    @abstractmethod
    def check_output(self, output: Path) -> None:
        """Check, before any work, that an export may be written to `output`.

        Raises:
            InputError: `output` is something else than an earlier export of this form.
        """

    def check_dtype(self, dtype: str) -> None:
        """Check that the form has a number format.

        Raises:
            InputError: it has not.
        """
        if dtype not in self.dtypes:
            raise InputError(f"dtype {dtype}: {self.name} is written as {' or '.join(self.dtypes)}")

    @abstractmethod
    def write(
        self, encoder: SpeechEncoder, output: Path, options: ExportOptions
    ) -> StateError | None:
        """Write `encoder` to `output`, completely or not at all, and return what was measured.

        Args:
            encoder: the encoder to write.
            output: a new or empty folder or a new file, or an earlier export.
            options: how to write it.

        Raises:
            InputError: the form cannot hold this encoder, or the error is above the limit.
        """

    def notes(self, encoder: SpeechEncoder) -> tuple[str, ...]:
        """Return what a user of the export has to know, one sentence each."""
        return ()

    @abstractmethod
    def next_step(self, encoder: SpeechEncoder, output: Path) -> str:
        """Return how to load or inspect the export, in one line."""
