"""Types of settings that several methods have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from .channels import UnitKind
from .gate_layout import GateKind

Sparsity = Annotated[float, Field(gt=0, lt=1)]
"""Fraction of the given encoder's stored parameters to remove; a CTC head does not count."""

Multiple = Annotated[int, Field(ge=1)]

LinearName = Literal["q", "k", "v", "out", "fc1", "fc2"]


def _split(value: Any) -> Any:
    """Split a text such as `ffn,qk` at its commas; the command line passes lists this way."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


Numbers = Annotated[tuple[int, ...], BeforeValidator(_split)]


def _each_once(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or len(set(value)) < len(value):
        raise ValueError("name at least one, and each only once")
    return value


LinearNames = Annotated[tuple[LinearName, ...], BeforeValidator(_split), AfterValidator(_each_once)]
UnitNames = Annotated[tuple[UnitKind, ...], BeforeValidator(_split), AfterValidator(_each_once)]
HiddenUnitNames = Annotated[
    tuple[Literal["ffn", "qk", "vo"], ...], BeforeValidator(_split), AfterValidator(_each_once)
]
GateNames = Annotated[tuple[GateKind, ...], BeforeValidator(_split), AfterValidator(_each_once)]

ALL_LINEARS: tuple[LinearName, ...] = ("q", "k", "v", "out", "fc1", "fc2")
