"""From records to one table: a row per upstream, in blocks that may be compared within."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from statistics import fmean
from typing import Any

import pandas

from ..results.records import Record, ScoreRecord, TimeRecord
from .costs import attach_fronts
from .rows import mark_roles, one_per_seed, reference_of, row_of
from .speed import attach_speed
from .uncertainty import attach_errors

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
    touched (`reference` is true for that one, see `rows.mark_roles`). Errors, and whether a
    difference is significant, are found from the predictions that the records name (see
    `uncertainty.attach_errors`).
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
        heading = dict(zip(BLOCK_COLUMNS, block, strict=True))
        rows_of_block = [heading | row_of(one_per_seed(cell)) for cell in scores[block].values()]
        mark_roles(rows_of_block)
        _compare_with_reference(rows_of_block)
        attach_errors(rows_of_block)
        attach_speed(rows_of_block, times)
        attach_fronts(rows_of_block)
        for position, row in enumerate(_ordered(rows_of_block), start=1):
            lines.append({"block": number, "row": position, **row})
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


def _compare_with_reference(rows: list[dict[str, Any]]) -> None:
    """Fill in `difference`, in place; an untouched upstream has none.

    It is the mean over the seeds that both rows have; without a common seed, the difference of the
    two means. Where it is tested, `attach_errors` takes it from the seeds of the test.
    """
    for row in rows:
        reference = reference_of(row, rows)
        if reference is None or reference is row:
            continue
        own, other = dict(row["seed_scores"]), dict(reference["seed_scores"])
        common = own.keys() & other.keys()
        row["difference"] = (
            fmean(own[seed] - other[seed] for seed in common)
            if common
            else row["score"] - reference["score"]
        )


def _ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bases together, each one's reference first, then the best score first; peers last."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        score = -row["score"] if row["higher_is_better"] else row["score"]
        return row["peer"], row["base"], not row["reference"], score, row["upstream"]

    return sorted(rows, key=key)
