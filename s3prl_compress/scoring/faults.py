"""Collecting everything that is wrong with some data, to say it all in one line."""

from __future__ import annotations

from ..errors import InputError

EXAMPLES = 3


class Faults:
    """Faults by kind, each with a count and its first examples."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, kind: str, example: str) -> None:
        """Note one fault: `kind` in words without figures, `example` says which one it is."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(" ".join(example.split()))

    def describe(self) -> str:
        """Return one line: kinds in the order of their first appearance, joined by "; "."""
        parts = []
        for kind, count in self._counts.items():
            more = ", ..." if count > EXAMPLES else ""
            parts.append(f"{kind}: {count} ({', '.join(self._examples[kind])}{more})")
        return "; ".join(parts)

    def raise_if_any(self, subject: str, remedy: str) -> None:
        """Raise one `InputError` that lists all faults; do nothing where there are none."""
        if self:
            raise InputError(f"{subject}: {self.describe()}; {remedy}")
