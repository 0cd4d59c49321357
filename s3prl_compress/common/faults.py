"""Collecting everything that is wrong with some data, to say it all in one line."""

from __future__ import annotations

from .errors import InputError

EXAMPLES = 3


class Faults:
    """Faults by kind, each with a count and its first examples."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, kind: str, example: str, *, count: int = 1) -> None:
        """Note a fault: `kind` in words, `example` which one, `count` how many it stands for."""
        self._counts[kind] = self._counts.get(kind, 0) + count
        self._examples.setdefault(kind, []).append(" ".join(example.split()))

    def extend(self, other: Faults) -> None:
        """Take over the faults of another collection."""
        for kind, examples in other._examples.items():
            self._counts[kind] = self._counts.get(kind, 0) + other._counts[kind]
            self._examples.setdefault(kind, []).extend(examples)

    def describe(self) -> str:
        """Return one line: kinds in the order of their first appearance, joined by "; "."""
        parts = []
        for kind, examples in self._examples.items():
            shown = [*examples[:EXAMPLES], *(["..."] if len(examples) > EXAMPLES else [])]
            parts.append(f"{kind}: {self._counts[kind]} ({', '.join(shown)})")
        return "; ".join(parts)

    def raise_if_any(self, subject: str, remedy: str) -> None:
        """Raise one `InputError` that lists all faults; do nothing where there are none."""
        if self:
            raise InputError(f"{subject}: {self.describe()}; {remedy}")
