"""The output of `check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..evaluation import record_path
from ..report.comparison import CompanionComparison, Comparison, Condition, larger_test_set
from ..report.notes import RANDOM_WEIGHTS
from ..report.rows import Row
from ..report.uncertainty_notes import units_text
from ..results.records import ScoreRecord
from ..statistics import ONE_SIDED, POWER, Verdict
from ..statistics.noninferiority import MOST_SEEDS, MOST_UNITS

EXIT_CODES: Mapping[Verdict, int] = {"passed": 0, "failed": 1, "not resolved": 3}
"""Exit codes of the verdicts; 2 means invalid input, as for every command."""


def check_data(
    comparison: Comparison,
    records: Sequence[ScoreRecord],
    dense_records: Sequence[ScoreRecord],
    folder: Path,
) -> dict[str, Any]:
    """Return the result of `check` under stable keys, ready for JSON."""
    row, dense, first = comparison.row, comparison.dense_row, records[0]
    return {
        "verdict": comparison.verdict,
        "exit_code": EXIT_CODES[comparison.verdict],
        "model": row.upstream,
        "against": dense.upstream,
        "task": first.task,
        "metric": row.metric,
        "higher_is_better": first.higher_is_better,
        "engine": first.engine,
        "recipe": first.recipe,
        "corpus": first.corpus.name,
        "seeds": list(comparison.seeds),
        "test_size": row.test_size,
        "error_units": row.error_units,
        "over_speakers": row.over_speakers,
        "score": _condition_figures(comparison, comparison.score),
        "dense_score": {
            "value": dense.score,
            "standard_error": dense.standard_error,
            "low": dense.score_low,
            "high": dense.score_high,
        },
        "loss": _condition_figures(comparison, comparison.loss),
        "companion": _companion_figures(comparison.companion),
        "one_sided_level": ONE_SIDED,
        "power": POWER,
        "records": [str(record_path(one, folder)) for one in (*records, *dense_records)],
        "notes": list(dict.fromkeys((*row.notes, *dense.notes))),
    }


def check_lines(comparison: Comparison) -> str:
    """Return scores, loss, sources of error and verdict, one line each."""
    row, dense, loss = comparison.row, comparison.dense_row, comparison.loss
    seeds = f"{len(comparison.seeds)} seeds and " if comparison.seeds else ""
    lines = [
        _scores(row, dense),
        f"loss: {loss.value:.2f} \N{PLUS-MINUS SIGN} {loss.standard_error:.2f} points, "
        f"{_bounds(loss)}; margin {loss.limit:g}: {loss.verdict}",
    ]
    if comparison.score.limit is not None:
        lines.append(
            f"score: {_bounds(comparison.score)}; {_limit(comparison)}: {comparison.score.verdict}"
        )
    if comparison.companion is not None:
        lines.append(_companion_line(comparison.companion, row))
    lines.append(f"errors are over {seeds}{units_text(row)}")
    lines.append(f"{comparison.verdict}{_reason(comparison)}")
    return "\n".join(lines)


def check_next_steps(comparison: Comparison, output: str) -> tuple[str, ...]:
    """Return a warning about random weights, the place of the records, and the next command."""
    random = comparison.row.random_weights or comparison.dense_row.random_weights
    seeds, _ = _needed(comparison)
    following = f"s3prl-compress report {output}"
    if seeds is not None:
        first = min(comparison.seeds)
        following = f"the same command with --seeds {first}-{first + seeds - 1}"
    return (
        *((f"note: {RANDOM_WEIGHTS}",) if random else ()),
        f"records: {output}",
        f"next: {following}",
    )


def _condition_figures(comparison: Comparison, condition: Condition) -> dict[str, Any]:
    figures = asdict(condition)
    seeds, units = figures.pop("seeds"), figures.pop("units")
    utterances, speakers = (None, None) if units is None else larger_test_set(comparison, units)
    if condition.verdict == "not resolved":
        figures["needs"] = {"seeds": seeds, "utterances": utterances, "speakers": speakers}
    return figures


def _scores(row: Row, dense: Row) -> str:
    metric = row.metric.replace(" (", " in ", 1).removesuffix(")")
    return (
        f"{row.task} {metric}: {row.upstream} {_measured(row)}, {dense.upstream} {_measured(dense)}"
    )


def _companion_line(companion: CompanionComparison, first: Row) -> str:
    """Return the scores by the second metric, and why it is the second one if that is unusual."""
    loss = companion.loss
    text = (
        f"{_scores(companion.row, companion.dense_row)}; "
        f"loss {loss.value:.2f} \N{PLUS-MINUS SIGN} {loss.standard_error:.2f} points"
    )
    metric = companion.row.metric_object
    if metric is not None and metric.companion_leads(companion.dense_row.score):
        text += (
            f" (not judged: where dense is this poor, {first.metric.split(' ')[0]} is the better "
            "guide)"
        )
    return text


def _companion_figures(companion: CompanionComparison | None) -> dict[str, Any] | None:
    if companion is None:
        return None
    return {
        "metric": companion.row.metric,
        "score": companion.row.score,
        "dense_score": companion.dense_row.score,
        "loss": companion.loss.value,
        "loss_standard_error": companion.loss.standard_error,
    }


def _points(limit: float | None) -> str:
    return f"{limit:g} point{'' if limit == 1 else 's'}"


def _measured(row: Row) -> str:
    return f"{row.score:.2f} \N{PLUS-MINUS SIGN} {row.standard_error:.2f}"


def _bounds(condition: Condition) -> str:
    confidence = f"{100 * (1 - ONE_SIDED):g} %"
    return f"one-sided {confidence} bounds {condition.low:.2f} and {condition.high:.2f}"


def _limit(comparison: Comparison) -> str:
    side = "at least" if comparison.row.higher_is_better else "at most"
    return f"{side} {comparison.score.limit:g} %"


def _needed(comparison: Comparison) -> tuple[int | None, float | None]:
    """Return what would resolve all conditions: a number of seeds, and a larger test set.

    The test set is given as a multiple of its present size. None if no reasonable value would do.
    """
    parts = [one for one in (comparison.loss, comparison.score) if one.verdict == "not resolved"]
    seeds = [one.seeds for one in parts if one.seeds is not None]
    units = [one.units for one in parts if one.units is not None]
    return (
        max(seeds) if parts and len(seeds) == len(parts) else None,
        max(units) if parts and len(units) == len(parts) else None,
    )


def _reason(comparison: Comparison) -> str:
    """Return the reason for a verdict, or what it would take to reach one."""
    if comparison.verdict != "not resolved":
        return _shown(comparison)
    seeds, factor = _needed(comparison)
    given = f" (power {100 * POWER:g} %, if the values are as estimated)"
    no_seeds = f"{MOST_SEEDS} seeds on this test set would not resolve it"
    no_utterances = f"{MOST_UNITS:g} times the utterances would not resolve it"
    if factor is None and seeds is None:
        if not comparison.seeds:
            return f": even {no_utterances}"
        return f": neither {MOST_SEEDS} seeds nor {no_utterances.replace(' not', '')}"
    if factor is None:
        return f": needs about {seeds} seeds{given}; with these seeds, even {no_utterances}"
    utterances, speakers = larger_test_set(comparison, factor)
    larger = f"{utterances} utterances" + (f" of {speakers} speakers" if speakers else "")
    if seeds is not None:
        return f": needs about {seeds} seeds or {larger}{given}"
    return f": needs about {larger}{given}" + (f"; even {no_seeds}" if comparison.seeds else "")


def _shown(comparison: Comparison) -> str:
    loss, score = comparison.loss, comparison.score
    if comparison.verdict == "passed":
        also = "" if score.limit is None else f", and the score is {_limit(comparison)}"
        return f": the loss is below {_points(loss.limit)}{also}"
    reasons = []
    if loss.verdict == "failed":
        reasons.append(f"the loss is above {_points(loss.limit)}")
    if score.verdict == "failed":
        side = "below" if comparison.row.higher_is_better else "above"
        reasons.append(f"the score is {side} {score.limit:g} %")
    return f": {' and '.join(reasons)}"
