"""Selection of records by engine version: a report leaves out what newer ones have replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .records import Record, ScoreRecord


def newest_versions(records: Sequence[Record]) -> tuple[list[Record], str | None]:
    """Return the records to report, and a sentence on those that were left out, if any.

    A change of an engine that changes results raises its version (`ENGINE_VERSIONS` in
    `tasks.base.engine`), and scores of different versions cannot be compared. So only the newest
    version is kept of each task, corpus, engine, padding and recipe.
    """
    newest: dict[tuple[str, ...], int] = {}
    for record in records:
        if isinstance(record, ScoreRecord):
            conditions = _conditions(record)
            newest[conditions] = max(newest.get(conditions, 0), record.engine_version)
    kept: list[Record] = []
    left_out: list[ScoreRecord] = []
    for record in records:
        if isinstance(record, ScoreRecord) and record.engine_version < newest[_conditions(record)]:
            left_out.append(record)
        else:
            kept.append(record)
    if not left_out:
        return kept, None
    counts = Counter((record.engine, record.engine_version) for record in left_out)
    listed = ", ".join(
        f"{count} of {engine} v{version}" for (engine, version), count in sorted(counts.items())
    )
    return kept, (
        "Scores of older engine versions are left out, since newer ones cannot be compared with "
        f"them: {listed}. Score these cells again to have them here."
    )


def _conditions(record: ScoreRecord) -> tuple[str, ...]:
    corpus = record.corpus.fingerprint
    return (record.task, corpus, record.engine, record.padding, record.recipe)
