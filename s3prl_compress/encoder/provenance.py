"""Where an encoder comes from: its base model and the chain of methods it went through."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

EXPORT_MARK = "s3prl_compress"
"""Key of a transformers folder's config.json under which an export keeps the history."""


class MethodStep(BaseModel):
    """One method that was applied, with everything that is needed to apply it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    method_version: int = 1
    """Of what the method computes; 1 in folders that were written before there were versions."""
    settings: dict[str, Any]
    """Every setting, defaults included."""
    version: str
    """Of s3prl_compress."""
    git_commit: str | None
    date: str
    """UTC, ISO 8601."""


class Provenance(BaseModel):
    """The history of an encoder; stands in a checkpoint's `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """A hub id, a file or folder name, or "random weights (seed 0)"."""
    base_revision: str | None = None
    """Commit on the model hub."""
    base_sha256: str | None = None
    """Of the file that the weights were read from."""
    random_weights: bool = False
    """True: nothing was ever learned."""
    steps: tuple[MethodStep, ...] = ()
    packages: dict[str, str] = {}
    """Versions of torch and of the reading libraries when the base was imported."""

    @classmethod
    def unknown(cls) -> Provenance:
        """Return the provenance of an encoder that was built by hand."""
        return cls(base="unknown (built by hand)")

    def after(self, step: MethodStep) -> Provenance:
        """Return this history with one more step."""
        return self.model_copy(update={"steps": (*self.steps, step)})

    def chain(self) -> tuple[str, ...]:
        """Return one line per step: the method and its settings."""
        return tuple(
            f"{step.method}({', '.join(f'{key}={value}' for key, value in step.settings.items())})"
            for step in self.steps
        )
