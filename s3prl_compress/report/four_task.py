"""The 4-task score (the SUPERB leaderboard's formula over four tasks), and what may be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from .rows import Row

NAME = "4-task score"
TASKS = ("ks", "sid", "er", "asr")
ERROR_RATES = ("asr",)
"""Those of the four tasks whose scores are error rates."""

REFERENCE_POINTS: Mapping[str, tuple[float, float]] = {
    "ks": (41.3826674, 96.66),
    "sid": (20.058174, 90.3),
    "er": (48.23672, 67.62),
    "asr": (76.82, 96.38),
}
"""The leaderboard's (base, top) per task, in percent; for error rates, of 100 minus the rate."""

OFFICIAL_VARIANTS: Mapping[str, str] = {
    "ks": "official",
    "sid": "voxceleb1",
    "er": "iemocap",
    "asr": "librispeech",
}
"""The corpora on which published scores were measured, as variants of our tasks."""

NOT_COMPARABLE = "not comparable with published scores"


def oriented_score(score: float, higher_is_better: bool) -> float:
    """Return a score in percent for which higher is better: 100 minus the rate of an error rate."""
    return score if higher_is_better else 100.0 - score


def four_task_score(
    scores: Mapping[str, float], errors: Mapping[str, float] | None = None
) -> tuple[float, float]:
    """Return the 4-task score and its standard error.

    1000 (v - base) / (top - base), the mean over the four tasks: the SUPERB leaderboard's formula
    and reference points. The leaderboard's own score is over ten tasks, so the two must never be
    compared.

    Args:
        scores: by task, in percent; for ASR the word error rate.
        errors: standard errors of the scores; the tasks' test sets are independent.
    """
    total, variance = 0.0, 0.0
    for task in TASKS:
        base, top = REFERENCE_POINTS[task]
        score = oriented_score(scores[task], task not in ERROR_RATES)
        total += 1000.0 * (score - base) / (top - base)
        if errors is not None:
            variance += (1000.0 * errors[task] / (top - base)) ** 2
    return total / len(TASKS), math.sqrt(variance) / len(TASKS)


def why_not_comparable(row: Row) -> list[str]:
    """Return the reasons why a row cannot be compared with published scores; none if it can."""
    if row.task not in OFFICIAL_VARIANTS:
        return [f"task {row.task}, which is not one of {', '.join(OFFICIAL_VARIANTS)}"]
    reasons = []
    if row.conditions.recipe != "official":
        reasons.append(f"recipe {row.conditions.recipe}")
    if row.generated_speech:
        reasons.append("generated speech")
    elif row.conditions.variant != OFFICIAL_VARIANTS[row.task]:
        reasons.append(f"corpus {row.conditions.corpus} ({row.conditions.variant})")
    if row.conditions.recipe == "official" and row.rate_choice == "given":
        reasons.append("one learning rate, not tuned")
    return reasons


def warning(rows: Iterable[Row]) -> str | None:
    """Return the warning above a report of which some rows cannot be compared; None without any."""
    rows = list(rows)
    reasons = list(dict.fromkeys(reason for row in rows for reason in why_not_comparable(row)))
    if not reasons:
        return None
    start = "These scores are" if all(map(why_not_comparable, rows)) else "Some scores are"
    return f"{start} {NOT_COMPARABLE}: {', '.join(reasons)}."
