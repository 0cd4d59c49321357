"""Notes on rows, and how tables show them: below the table, or as footnotes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..results.records import NO_RECIPE, ScoreRecord

RANDOM_WEIGHTS = "Random weights: scores say nothing about compression."
GENERATED_SPEECH = "Generated speech: not comparable with published scores."
ALMOST = "\N{ALMOST EQUAL TO}"
APPROXIMATE = f"Approximate ({ALMOST}): the engine's conditions for exactness did not hold."
NOT_TUNED = "One learning rate, not tuned."
RESUMED = "Resumed: its later batches differ from those of an uninterrupted run."


def notes_of(records: Iterable[ScoreRecord]) -> tuple[str, ...]:
    """Return the notes of one row's records, each once, and those that their flags imply."""
    records = list(records)
    given = list(dict.fromkeys(note.strip() for record in records for note in record.notes))
    implied = []
    if any(record.upstream.random_weights for record in records):
        implied.append((RANDOM_WEIGHTS, "random weights"))
    if any(record.corpus.generated for record in records):
        implied.append((GENERATED_SPEECH, "generated"))
    if any(record.approximate for record in records):
        implied.append((APPROXIMATE, "approximate"))
    if any(record.resumed for record in records):
        implied.append((RESUMED, "resumed"))
    if any(record.rate_choice == "given" for record in records):
        implied.append((NOT_TUNED, "not tuned"))
    missing = [note for note, word in implied if not any(word in other.lower() for other in given)]
    recipe = records[0].recipe
    if recipe not in ("official", NO_RECIPE):
        missing.append(
            f"Recipe {recipe}, not the official settings: not comparable with published scores."
        )
    return (*missing, *given)


def footnotes(
    rows: Sequence[tuple[str, ...]],
) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Split the rows' notes into those of all rows and those of some.

    Returns:
        The shared notes, the others as (letter, note), and each row's letters.
    """
    notes = list(dict.fromkeys(note for row in rows for note in row))
    shared = [note for note in notes if all(note in row for row in rows)]
    own = [note for note in notes if note not in shared]
    letters = {note: _letter(number) for number, note in enumerate(own)}
    marks = ["".join(letters[note] for note in own if note in row) for row in rows]
    return shared, [(letters[note], note) for note in own], marks


def _letter(number: int) -> str:
    """Return a to z, then a1 to z1, and so on."""
    return "abcdefghijklmnopqrstuvwxyz"[number % 26] + (str(number // 26) if number >= 26 else "")
