"""Provenance of an encoder: its base model and the methods that were applied to it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

EXPORT_MARK = "s3prl_compress"
"""Key in an exported config.json of transformers that holds the history."""


class MethodStep(BaseModel):
    """One application of a method, with everything that is needed to repeat it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    method_version: int = 1
    """Version of what the method computes; 1 in folders written before methods had versions."""
    settings: dict[str, Any]
    """All settings, defaults included."""
    version: str
    """Version of s3prl_compress."""
    git_commit: str | None
    date: str
    """Date and time in UTC, ISO 8601."""


class Provenance(BaseModel):
    """The history of an encoder, as stored in a checkpoint's `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """A hub id, a file or folder name, or "random weights (seed 0)"."""
    base_revision: str | None = None
    """Commit on the model hub."""
    base_sha256: str | None = None
    """Hash of the files that the weights were read from."""
    random_weights: bool = False
    """True: the encoder was never trained."""
    steps: tuple[MethodStep, ...] = ()
    packages: dict[str, str] = {}
    """Versions of torch and of the reading libraries when the base was imported."""

    @property
    def hub_id(self) -> str | None:
        """The base model's id on the hub; None if it was not read from there."""
        return self.base.split(" ")[0] if self.base_revision is not None else None

    @classmethod
    def unknown(cls) -> Provenance:
        """Return the provenance of an encoder built directly from the class."""
        return cls(base="unknown (built by hand)")

    def after(self, step: MethodStep) -> Provenance:
        """Return this history with one more step."""
        return self.model_copy(update={"steps": (*self.steps, step)})

    def chain(self) -> tuple[str, ...]:
        """Return one line per step: the method and its settings in parentheses."""
        return tuple(
            f"{step.method}({', '.join(f'{key}={value}' for key, value in step.settings.items())})"
            for step in self.steps
        )
