"""The kinds of models that a suite can make, score and time: encoders and Whisper models.

What a suite does with a model and what depends on its kind is here, and nowhere else in a suite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from .. import whisper
from ..common.method_config import MethodConfig
from ..encoder import EncoderShape, SpeechEncoder, cost, fingerprint, load, save
from ..encoder.cost import parameters
from ..methods import available, check_settings, compress
from ..whisper.cost import cost as whisper_cost
from .suite_file import UpstreamEntry

ModelT = TypeVar("ModelT")
Model = SpeechEncoder | whisper.Whisper


@dataclass(frozen=True)
class UpstreamSize:
    """The properties of an upstream that determine time and disk space."""

    states: int
    """Number of hidden states: layers + 1."""
    hidden: int
    """Width of a hidden state."""
    macs_32: int
    """Multiply-adds over the SUPERB leaderboard's 32 utterances."""
    bytes: int
    """Size of the checkpoint."""
    learned: bool = False
    """Whether making the upstream involves training."""


def size_of_shape(shape: EncoderShape) -> UpstreamSize:
    """Return the size of an encoder of this shape."""
    counted = cost(shape)
    return UpstreamSize(len(shape.layers) + 1, shape.hidden, counted.macs_32, counted.bytes)


class ModelKind(ABC, Generic[ModelT]):
    """The operations on models of one kind; errors are those of the functions that they call."""

    @abstractmethod
    def load(self, source: str, normalize: bool | None) -> ModelT:
        """Return a model on the CPU."""

    @abstractmethod
    def save(self, model: ModelT, folder: Path, dtype: torch.dtype) -> None:
        """Write a checkpoint folder."""

    @abstractmethod
    def compress(self, model: ModelT, method: str, settings: Mapping[str, Any]) -> ModelT:
        """Return a compressed model."""

    @abstractmethod
    def check_settings(self, method: str, settings: Mapping[str, Any]) -> MethodConfig:
        """Return the validated settings of a method."""

    @abstractmethod
    def method_version(self, method: str) -> int:
        """Return the version of a method's result."""

    @abstractmethod
    def fingerprint(self, model: ModelT) -> str:
        """Return the SHA-256 that records have."""

    @abstractmethod
    def parameters(self, model: ModelT) -> int:
        """Count the weights that run."""

    @abstractmethod
    def size(self, model: ModelT) -> UpstreamSize:
        """Return what determines time and disk space."""

    @abstractmethod
    def ready(self, model: ModelT) -> ModelT:
        """Return the model on the CPU in eval mode."""


class _Encoders(ModelKind[SpeechEncoder]):
    def load(self, source: str, normalize: bool | None) -> SpeechEncoder:
        return load(source, normalize=normalize)

    def save(self, model: SpeechEncoder, folder: Path, dtype: torch.dtype) -> None:
        save(model, folder, dtype=dtype)

    def compress(
        self, model: SpeechEncoder, method: str, settings: Mapping[str, Any]
    ) -> SpeechEncoder:
        return compress(model, method, **settings)

    def check_settings(self, method: str, settings: Mapping[str, Any]) -> MethodConfig:
        return check_settings(method, settings)

    def method_version(self, method: str) -> int:
        return available()[method].version

    def fingerprint(self, model: SpeechEncoder) -> str:
        return fingerprint(model)

    def parameters(self, model: SpeechEncoder) -> int:
        return parameters(model)

    def size(self, model: SpeechEncoder) -> UpstreamSize:
        return size_of_shape(model.shape)

    def ready(self, model: SpeechEncoder) -> SpeechEncoder:
        return model.to("cpu").eval()


class _WhisperModels(ModelKind[whisper.Whisper]):
    def load(self, source: str, normalize: bool | None) -> whisper.Whisper:
        return whisper.load(source)

    def save(self, model: whisper.Whisper, folder: Path, dtype: torch.dtype) -> None:
        whisper.save(model, folder, dtype=dtype)

    def compress(
        self, model: whisper.Whisper, method: str, settings: Mapping[str, Any]
    ) -> whisper.Whisper:
        return whisper.compress(model, method, **settings)

    def check_settings(self, method: str, settings: Mapping[str, Any]) -> MethodConfig:
        return whisper.check_settings(method, settings)

    def method_version(self, method: str) -> int:
        return whisper.find_method(method).version

    def fingerprint(self, model: whisper.Whisper) -> str:
        return whisper.fingerprint(model)

    def parameters(self, model: whisper.Whisper) -> int:
        return whisper_cost(model).parameters

    def size(self, model: whisper.Whisper) -> UpstreamSize:
        counted, shape = whisper_cost(model), model.shape
        return UpstreamSize(len(shape.encoder) + 1, shape.hidden, counted.macs_32, counted.bytes)

    def ready(self, model: whisper.Whisper) -> whisper.Whisper:
        return model.to("cpu")


ENCODERS: ModelKind[Any] = _Encoders()
WHISPER: ModelKind[Any] = _WhisperModels()


def kind_of_source(source: str | Path) -> ModelKind[Any]:
    """Return the kind of model in a folder, a file or on the hub; encoders if it is unreadable."""
    return WHISPER if whisper.is_whisper(source) else ENCODERS


def kind_of_model(model: Model) -> ModelKind[Any]:
    """Return the kind of a loaded model."""
    return WHISPER if isinstance(model, whisper.Whisper) else ENCODERS


def kind_of_entry(entries: Sequence[UpstreamEntry], name: str) -> ModelKind[Any]:
    """Return the kind of an upstream: that of the source which it was made from."""
    by_name = {entry.name: entry for entry in entries}
    entry = by_name[name]
    while entry.base is not None:
        entry = by_name[entry.base]
    return ENCODERS if entry.source is None else kind_of_source(entry.source)
