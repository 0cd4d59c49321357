"""One upstream in one block: its records of all seeds, merged into a row."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from ..results.records import RateChoice, ScoreRecord
from ..statistics import recorded_metric
from .notes import notes_of

_TWO_SIDED_95 = 1.96


def one_per_seed(records: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    """Keep the newest record of each seed: records are only ever appended.

    Those of an older version of their engine are left out: seeds of different versions have no
    common mean.
    """
    version = max(record.engine_version for record in records)
    newest: dict[int | None, ScoreRecord] = {}
    for record in sorted(records, key=lambda record: record.environment.date):
        if record.engine_version == version:
            newest[record.seed] = record
    return [newest[seed] for seed in sorted(newest, key=lambda seed: -1 if seed is None else seed)]


def row_of(records: list[ScoreRecord]) -> dict[str, Any]:
    """Merge one upstream's records, one per seed."""
    first = records[0]
    upstream, cost = first.upstream, first.upstream.cost
    score, error, spread = over_seeds(
        [record.score for record in records], [record.standard_error for record in records]
    )
    low, high = _interval(records, score, error)
    newest = max((record.environment for record in records), key=lambda where: where.date)
    return {
        "upstream": upstream.name,
        "base": upstream.base,
        "methods": " + ".join(upstream.methods),
        "reference": False,
        "peer": False,
        "score": score,
        "standard_error": error,
        "score_low": low,
        "score_high": high,
        "higher_is_better": first.higher_is_better,
        **_other_metrics(records),
        "difference": None,
        "seeds": ", ".join(str(record.seed) for record in records if record.seed is not None),
        "seed_count": len(records),
        "seed_spread": spread,
        **_folds(records),
        "learning_rate": " ".join(f"{rate:g}" for rate in _rates(records)),
        "rate_choice": _rate_choice(records),
        "engine_version": first.engine_version,
        "test_size": first.test_size,
        "chance": first.chance,
        "approximate": any(record.approximate for record in records),
        "parameters": cost.parameters if cost else None,
        "nonzero_parameters": cost.nonzero_parameters if cost else None,
        "macs_32": cost.macs_32 if cost else None,
        "bytes": cost.bytes if cost else None,
        "random_weights": upstream.random_weights,
        "generated_speech": first.corpus.generated,
        "notes": notes_of(records),
        "source": upstream.source,
        "checkpoint_sha256": upstream.checkpoint_sha256,
        "predictions": tuple((record.seed, record.predictions) for record in records),
        "seed_scores": tuple((record.seed, record.score) for record in records),
        "machine": newest.machine,
        "device": newest.device,
        "threads": newest.threads,
        "date": newest.date,
        "python": newest.python,
        "packages": " ".join(f"{name}={version}" for name, version in newest.packages.items()),
        "git_commit": newest.git_commit,
        "git_dirty": newest.git_dirty,
        "command": newest.command,
    }


def over_seeds(scores: list[float], errors: list[float]) -> tuple[float, float, float | None]:
    """Return mean, its standard error, and the standard deviation over seeds (None for one).

    The error is that of rows without predictions; others get theirs from
    `uncertainty.attach_errors`. The seeds share one test set, so its sampling error does not
    shrink with their number; the training's does: error^2 = mean(sampling^2) + spread^2 / seeds.
    """
    mean = fmean(scores)
    sampling = fmean(error**2 for error in errors)
    if len(scores) == 1:
        return mean, math.sqrt(sampling), None
    spread = stdev(scores)
    return mean, math.sqrt(sampling + spread**2 / len(scores)), spread


def mark_roles(rows: Sequence[dict[str, Any]]) -> None:
    """Fill in `reference` and `peer` of a block's rows, in place.

    A row that no method has touched is the reference (dense) of the compressed rows of its base.
    Where there are none of these it is a peer: somebody else's model in the same table. On the
    task ctc, where a model must have been fine-tuned, that fine-tuning alone compresses nothing.
    """
    bases = {row["base"] for row in rows if not _is_dense(row)}
    for row in rows:
        row["reference"] = _is_dense(row) and row["base"] in bases
        row["peer"] = not row["methods"] and not row["reference"]


def role_of(row: Mapping[str, Any]) -> str:
    """Return in words what was done to an upstream: its methods, "dense", or a peer's base."""
    if row["methods"]:
        return str(row["methods"])
    return "dense" if row["reference"] else str(row["base"])


def reference_of(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the block's untouched upstream of the same base, if it is there.

    Of several (task ctc) it is the one that the row was made from, where that is there.
    """
    if row["reference"]:
        return row
    found = [other for other in rows if other["reference"] and other["base"] == row["base"]]

    def distance(other: dict[str, Any]) -> tuple[bool, int, str]:
        ancestor = row["methods"].startswith(other["methods"])
        return not ancestor, -len(other["methods"]), other["upstream"]

    return min(found, key=distance) if found else None


def _is_dense(row: Mapping[str, Any]) -> bool:
    names = set(method_names(row["methods"]))
    return not names or (row.get("task") == "ctc" and names == {"ctc"})


def method_names(methods: str) -> list[str]:
    """Return the names in a chain of methods, without their settings."""
    return re.findall(r"(?:^| \+ )([A-Za-z_][\w-]*)(?=\(|$| \+ )", methods)


def _rates(records: list[ScoreRecord]) -> list[float]:
    return sorted({one.learning_rate for one in records if one.learning_rate is not None})


def _rate_choice(records: Sequence[ScoreRecord]) -> str:
    """Return how the learning rates were found: of several ways, the one to be wary of."""
    choices = {record.rate_choice for record in records}
    order: tuple[RateChoice, ...] = ("given", "one-pass", "dev sweep")
    return next((choice for choice in order if choice in choices), "")


def _interval(records: list[ScoreRecord], score: float, error: float) -> tuple[float, float]:
    """Return the 95 % interval: the record's own; over seeds, the normal one of their error."""
    if len(records) == 1 and records[0].interval is not None:
        return records[0].interval
    low, high = score - _TWO_SIDED_95 * error, score + _TWO_SIDED_95 * error
    metric = recorded_metric(records[0].metric)
    return (low, high) if metric is None else metric.within_range(low, high)


def _other_metrics(records: list[ScoreRecord]) -> dict[str, float | None]:
    """Return the seeds' mean of the metrics beside the score; there is the "cer" of ASR."""
    rates = [record.other_metrics["cer"] for record in records if "cer" in record.other_metrics]
    return {"cer": fmean(rates) if rates else None}


def _folds(records: list[ScoreRecord]) -> dict[str, Any]:
    """Return the sizes of the folds, and the standard deviation of their scores (seeds' mean)."""
    spreads = [
        stdev(fold.score for fold in record.folds) for record in records if len(record.folds) > 1
    ]
    return {
        "fold_sizes": tuple(fold.test_size for fold in records[0].folds),
        "fold_spread": fmean(spreads) if spreads else None,
    }
