"""From records to rows: one per upstream, in blocks that may be compared within."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, replace
from typing import Any

from ..results.predictions import read_block
from ..results.records import Record, ScoreRecord, TimeRecord
from .companions import with_companions
from .costs import with_fronts
from .language_models import with_language_models
from .merge import merge, one_per_seed
from .roles import with_roles
from .rows import Conditions, Row
from .speed import with_speed
from .uncertainty import with_errors


def leaderboard(records: Iterable[Record]) -> list[Row]:
    """Return one row per (block, upstream), blocks numbered from 1.

    Seeds are averaged. Costs are counts; `score` and `standard_error` are in the metric's unit. The
    speed figures of a block are all of one machine, device, thread count and dtype (see
    `speed.with_speed`). Differences are from the upstream of the same base that no method has
    touched (see `roles.with_roles`). Errors and tests are computed from the predictions that the
    records name (see `uncertainty.with_errors`). Where the word error rate of the
    dense model is too high to be a guide, rows are scored and sorted by characters (see
    `companions.with_companions`).
    """
    blocks: dict[Conditions, dict[tuple[str, str], list[ScoreRecord]]] = {}
    times: list[TimeRecord] = []
    for record in records:
        if isinstance(record, TimeRecord):
            times.append(record)
        else:
            upstreams = blocks.setdefault(Conditions.of(record), {})
            key = (record.upstream.checkpoint_sha256, record.upstream.name)
            upstreams.setdefault(key, []).append(record)
    ordered = sorted(blocks, key=lambda conditions: tuple(map(str, astuple(conditions))))
    rows = [
        replace(row, block=number, row=position)
        for number, conditions in enumerate(ordered, start=1)
        for position, row in enumerate(_block(blocks[conditions].values(), times), start=1)
    ]
    return with_language_models(rows)


def _block(upstreams: Iterable[list[ScoreRecord]], times: list[TimeRecord]) -> list[Row]:
    """Return the rows of one block in their order."""
    cells = [one_per_seed(records) for records in upstreams]
    rows = with_roles([merge(cell) for cell in cells])
    predictions = read_block(cells)
    rows = with_errors(rows, cells, predictions)
    rows = with_companions(rows, predictions)
    rows = with_speed(rows, times)
    rows = with_fronts(rows)
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[Any, ...]:
    """Bases together, each one's reference first, then the best score first; peers last."""
    return row.peer, row.base, not row.reference, -(row.oriented_score or 0.0), row.upstream
