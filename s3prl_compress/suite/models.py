"""The kinds of models that a suite can make and score: encoders and Whisper models.

What a suite does with a model as a whole and what depends on its kind is here. Tasks that train a
head, and timing, take encoders only: those of Whisper models are loaded by `encoder.load`.
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
from ..encoder import (
    EncoderShape,
    Provenance,
    SpeechEncoder,
    cost,
    fingerprint,
    load_unless_loaded,
    save,
)
from ..encoder.cost import parameters
from ..encoder.exported import ExportedEncoder, refuse_exported
from ..methods import available, check_settings, compress
from ..whisper.cost import cost as whisper_cost
from .suite_file import UpstreamEntry

ModelT = TypeVar("ModelT")
Encoder = SpeechEncoder | ExportedEncoder
Model = Encoder | whisper.Whisper


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
    return UpstreamSize(shape.states, shape.hidden, counted.macs_32, counted.bytes)


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
    def provenance(self, model: ModelT) -> Provenance:
        """Return the history."""

    @abstractmethod
    def size(self, model: ModelT) -> UpstreamSize:
        """Return what determines time and disk space."""

    @abstractmethod
    def ready(self, model: ModelT) -> ModelT:
        """Return the model on the CPU in eval mode."""


class _Encoders(ModelKind[Encoder]):
    """Encoders, and exported ones, which are loaded and measured only."""

    def load(self, source: str, normalize: bool | None) -> Encoder:
        encoder = load_unless_loaded(source, normalize=normalize)
        assert isinstance(encoder, Encoder)  # as from every path and hub id
        return encoder

    def save(self, model: Encoder, folder: Path, dtype: torch.dtype) -> None:
        save(_with_weights(model), folder, dtype=dtype)

    def compress(self, model: Encoder, method: str, settings: Mapping[str, Any]) -> Encoder:
        return compress(_with_weights(model), method, **settings)

    def check_settings(self, method: str, settings: Mapping[str, Any]) -> MethodConfig:
        return check_settings(method, settings)

    def method_version(self, method: str) -> int:
        return available()[method].version

    def fingerprint(self, model: Encoder) -> str:
        return fingerprint(model)

    def parameters(self, model: Encoder) -> int:
        if isinstance(model, ExportedEncoder):
            return cost(model.config.shape).parameters
        return parameters(model)

    def provenance(self, model: Encoder) -> Provenance:
        return model.config.provenance if isinstance(model, ExportedEncoder) else model.provenance

    def size(self, model: Encoder) -> UpstreamSize:
        return size_of_shape(model.shape)

    def ready(self, model: Encoder) -> Encoder:
        return model.to("cpu").eval()


def _with_weights(model: Encoder) -> SpeechEncoder:
    if isinstance(model, ExportedEncoder):
        refuse_exported(model.path)
    assert isinstance(model, SpeechEncoder)
    return model


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

    def provenance(self, model: whisper.Whisper) -> Provenance:
        return model.provenance

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
