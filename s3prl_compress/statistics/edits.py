"""Errors of recognised texts by kind: substitutions, deletions and insertions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EditCounts:
    """Errors of a test set by kind, in jiwer's minimal alignment."""

    tokens: int
    """Words or characters of the truth."""
    substitutions: int
    deletions: int
    insertions: int

    def rates(self) -> tuple[float, float, float]:
        """Return substitutions, deletions and insertions in percent of the truth's tokens.

        They sum to the error rate.
        """
        kinds = (self.substitutions, self.deletions, self.insertions)
        substituted, deleted, inserted = (100.0 * count / self.tokens for count in kinds)
        return substituted, deleted, inserted


def edit_counts(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, EditCounts]:
    """Return the errors by kind, in `words` and in `characters`, in which spaces count.

    Raises:
        ValueError: there is no word in any truth.
    """
    import jiwer  # slow to import, and needed only for texts

    counts = {}
    for unit, process in (("words", jiwer.process_words), ("characters", jiwer.process_characters)):
        found = process(list(truth), list(predicted))
        tokens = found.hits + found.substitutions + found.deletions
        if not tokens:
            raise ValueError(f"no {unit} among the truths: no error rate")
        counts[unit] = EditCounts(tokens, found.substitutions, found.deletions, found.insertions)
    return counts
