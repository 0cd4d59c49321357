"""From records to one table: a row per upstream, in blocks that may be compared within."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas

from .notes import notes_of
from .records import Record, ScoreRecord, TimeRecord
from .speed import attach_speed

BLOCK_COLUMNS = (
    "task",
    "task_version",
    "variant",
    "metric",
    "engine",
    "padding",
    "recipe",
    "corpus",
    "corpus_fingerprint",
    "settings_sha256",
)
"""What two rows must share to stand in one block: nothing across blocks is ever compared."""


def leaderboard(records: Iterable[Record]) -> pandas.DataFrame:
    """Return one row per (block, upstream), blocks numbered from 1 in the column `block`.

    Seeds are averaged. Costs are counts, `score` and `standard_error` are in the metric's unit,
    `bytes` are bytes, `rtfx` is total audio over total time of the timing's 32 utterances. The
    speed figures of a block are all of one machine, device, thread count and dtype (see
    `speed.attach_speed`). `difference` is to the upstream of the same base that no method has
    touched (`reference` is true for that one).
    """
    scores: dict[tuple[Any, ...], dict[tuple[str, str], list[ScoreRecord]]] = {}
    times: list[TimeRecord] = []
    for record in records:
        if isinstance(record, TimeRecord):
            times.append(record)
        else:
            rows = scores.setdefault(_block_of(record), {})
            key = (record.upstream.checkpoint_sha256, record.upstream.name)
            rows.setdefault(key, []).append(record)
    lines: list[dict[str, Any]] = []
    for number, block in enumerate(sorted(scores, key=lambda key: tuple(map(str, key))), start=1):
        rows_of_block = [_row(_one_per_seed(cell)) for cell in scores[block].values()]
        _compare_with_reference(rows_of_block)
        attach_speed(rows_of_block, times)
        for position, row in enumerate(_ordered(rows_of_block), start=1):
            heading = dict(zip(BLOCK_COLUMNS, block, strict=True))
            lines.append({"block": number, "row": position, **heading, **row})
    return pandas.DataFrame(lines)


def _block_of(record: ScoreRecord) -> tuple[Any, ...]:
    settings = json.dumps(record.settings, sort_keys=True).encode()
    return (
        record.task,
        record.task_version,
        record.variant,
        record.metric,
        record.engine,
        record.padding,
        record.recipe,
        record.corpus.name,
        record.corpus.fingerprint,
        hashlib.sha256(settings).hexdigest(),
    )


def _one_per_seed(records: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    """Keep the newest record of each seed: records are only ever appended."""
    newest: dict[int, ScoreRecord] = {}
    for record in sorted(records, key=lambda record: record.environment.date):
        newest[record.seed] = record
    return [newest[seed] for seed in sorted(newest)]


def _row(records: list[ScoreRecord]) -> dict[str, Any]:
    """Merge one upstream's seeds."""
    first = records[0]
    upstream, cost = first.upstream, first.upstream.cost
    score, error, spread = _over_seeds(
        [record.score for record in records], [record.standard_error for record in records]
    )
    newest = max((record.environment for record in records), key=lambda where: where.date)
    return {
        "upstream": upstream.name,
        "base": upstream.base,
        "methods": " + ".join(upstream.methods),
        "reference": not upstream.methods,
        "score": score,
        "standard_error": error,
        "higher_is_better": first.higher_is_better,
        "difference": None,
        "seeds": ", ".join(str(record.seed) for record in records),
        "seed_count": len(records),
        "seed_spread": spread,
        "learning_rate": " ".join(
            f"{rate:g}" for rate in sorted({record.learning_rate for record in records})
        ),
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


def _over_seeds(scores: list[float], errors: list[float]) -> tuple[float, float, float | None]:
    """Return mean, its standard error, and the standard deviation over seeds (None for one).

    The seeds share one test set, so its sampling error does not shrink with their number; the
    training's does: error^2 = mean(binomial^2) + spread^2 / seeds. Slightly too wide, never too
    narrow.
    """
    mean = sum(scores) / len(scores)
    sampling = sum(error**2 for error in errors) / len(errors)
    if len(scores) == 1:
        return mean, math.sqrt(sampling), None
    variance = sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)
    return mean, math.sqrt(sampling + variance / len(scores)), math.sqrt(variance)


def _compare_with_reference(rows: list[dict[str, Any]]) -> None:
    """Fill in `difference`, in place; an untouched upstream has none."""
    for row in rows:
        reference = reference_of(row, rows)
        if reference is not None and reference is not row:
            row["difference"] = row["score"] - reference["score"]


def reference_of(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the block's untouched upstream of the same base, if it is there."""
    if row["reference"]:
        return row
    found = [other for other in rows if other["reference"] and other["base"] == row["base"]]
    return min(found, key=lambda other: other["upstream"]) if found else None


def _ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bases together, each one's reference first, then the best score first."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        score = -row["score"] if row["higher_is_better"] else row["score"]
        return row["base"], not row["reference"], score, row["upstream"]

    return sorted(rows, key=key)
