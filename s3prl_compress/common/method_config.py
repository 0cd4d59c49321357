"""The base of every method's settings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class MethodConfig(BaseModel):
    """Base of a method's settings: each one a typed field with a default and a docstring."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def recorded(self) -> dict[str, Any]:
        """Return what the encoder's history keeps of the settings, in words that JSON can hold."""
        return self.model_dump(mode="json")
