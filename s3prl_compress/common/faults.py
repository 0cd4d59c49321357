"""Collecting all faults of some data, to report them in one line."""

from __future__ import annotations

from .errors import InputError

EXAMPLES = 3
"""Number of examples that are shown of each kind of fault."""


class Faults:
    """Faults by kind, each with a count and its first examples."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, kind: str, example: str, *, count: int = 1) -> None:
        """Add a fault.

        Args:
            kind: a description, the same for all faults of this kind: "missing file".
            example: where it is.
            count: how many faults of this kind it stands for.
        """
        self._counts[kind] = self._counts.get(kind, 0) + count
        self._examples.setdefault(kind, []).append(" ".join(example.split()))

    def extend(self, other: Faults) -> None:
        """Add the faults of another collection."""
        for kind, examples in other._examples.items():
            self._counts[kind] = self._counts.get(kind, 0) + other._counts[kind]
            self._examples.setdefault(kind, []).extend(examples)

    def describe(self) -> str:
        """Return one line with all kinds, in the order in which they were first added."""
        parts = []
        for kind, examples in self._examples.items():
            shown = [*examples[:EXAMPLES], *(["..."] if len(examples) > EXAMPLES else [])]
            parts.append(f"{kind}: {self._counts[kind]} ({', '.join(shown)})")
        return "; ".join(parts)

    def raise_if_any(self, subject: str, remedy: str) -> None:
        """Raise one `InputError` that lists all faults, if there are any.

        Args:
            subject: what has the faults.
            remedy: how to fix them.
        """
        if self:
            raise InputError(f"{subject}: {self.describe()}; {remedy}")
