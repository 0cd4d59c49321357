"""`--dry-run`: which cells there are, and what the missing ones will take of time and disk.

From past records where there are any, scaled by multiply-adds to another upstream. Else by rules
of thumb, which assume that nearly all time goes into upstreams' forward passes:

- seconds of a forward pass = 2 x multiply-adds / (what this machine does in a matrix product,
  measured for a moment, x `_SHARE_OF_PEAK`);
- `onepass`: every utterance once, for all seeds and learning rates together;
- `s3prl`: for each learning rate all micro-batches, and dev at every evaluation; test once;
- training heads and compressing without training: nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from ..commands.console import Answer, table
from ..encoder import LEADERBOARD_SAMPLES
from ..outputs import pick_device, use_threads
from ..scoring import Settings, load_settings
from .cells import Cell
from .corpora import CorpusFacts, corpus_facts
from .finished import Finished
from .groups import groups_of
from .plan import Plan
from .sizes import UpstreamSize, checkpoint_bytes, feature_bytes, head_bytes, upstream_size

_SHARE_OF_PEAK = 0.7
"""Of a matrix product's speed, in an encoder's forward pass. A rule of thumb."""
_BOARD_SECONDS = sum(LEADERBOARD_SAMPLES) / 16_000


@dataclass(frozen=True)
class Estimate:
    """What a cell will take; None where nobody can say."""

    cell: Cell
    seconds: float | None
    bytes: int | None
    basis: str
    """Where the seconds come from."""


def estimate(plan: Plan, cells: Sequence[Cell]) -> Answer:
    """Return the list of cells with what each will take; nothing is written."""
    use_threads(plan.threads or plan.suite.threads)
    facts = [corpus_facts(entry, plan.corpora) for entry in plan.suite.tasks]
    finished = Finished(plan, lambda place: facts[place].fingerprint)
    first = {group.cells[0] for group in groups_of(plan.suite, cells)}
    sizes = cache(lambda name: upstream_size(plan, name))
    speed = cache(lambda: _speed(pick_device(plan.device or plan.suite.device)))
    rows = []
    for cell in cells:
        if finished.is_finished(cell):
            rows.append(Estimate(cell, 0.0, 0, "done"))
            continue
        size = sizes(cell.upstream)
        rows.append(
            _of_upstream(plan, cell, size)
            if cell.kind == "upstream"
            else _of_time(plan, cell, size, speed())
            if cell.kind == "time"
            else _of_score(plan, cell, size, facts, finished, speed(), shares=cell not in first)
        )
    return _answer(plan, rows)


def _of_upstream(plan: Plan, cell: Cell, size: UpstreamSize) -> Estimate:
    entry = next(entry for entry in plan.suite.upstreams if entry.name == cell.upstream)
    if entry.source is not None or entry.s3prl is not None:
        return Estimate(cell, 0.0, 0, "is read only")
    if size.learned:
        return Estimate(cell, None, checkpoint_bytes(size), "learned: its steps decide")
    return Estimate(cell, 0.0, checkpoint_bytes(size), "rule of thumb")


def _of_time(plan: Plan, cell: Cell, size: UpstreamSize, speed: float) -> Estimate:
    timing = plan.suite.time
    assert timing is not None
    share = (timing.utterances_per_bucket or 8) / 8
    rounds = timing.repeats + timing.warmup + 1
    sides = 1 if timing.against in (None, cell.upstream) else 2
    seconds = 2 * size.macs_32 / speed * share * rounds * sides
    return Estimate(cell, seconds, 0, "rule of thumb")


def _of_score(
    plan: Plan,
    cell: Cell,
    size: UpstreamSize,
    facts: Sequence[CorpusFacts],
    finished: Finished,
    speed: float,
    *,
    shares: bool,
) -> Estimate:
    """Estimate a score; `shares`: another cell before it makes the features."""
    assert cell.task is not None
    assert cell.engine is not None
    entry, corpus = plan.suite.tasks[cell.task], facts[cell.task]
    settings, _ = load_settings(entry.task, entry.recipe, cell.engine)
    if cell.engine == "onepass":
        space = 0 if shares else feature_bytes(entry.task, settings, size, corpus)
        audio = 0.0 if shares else corpus.all_seconds
    else:
        space = head_bytes(settings, size, corpus)
        audio = corpus.trained_seconds(settings)
    padding = entry.padding or settings.padding
    settings = settings.model_copy(update={"padding": padding})
    past = _past(cell, size, settings, corpus, finished)
    if past is not None and not shares:
        return Estimate(cell, past, space, "past records")
    if audio is None:
        return Estimate(cell, None, space, "the corpus is not prepared yet")
    per_second = size.macs_32 / _BOARD_SECONDS
    basis = "rule of thumb"
    if corpus.fingerprint is None:
        basis += ", the official corpus's size"
    return Estimate(cell, 2 * per_second * audio / speed, space, basis)


def _past(
    cell: Cell, size: UpstreamSize, settings: Settings, corpus: CorpusFacts, finished: Finished
) -> float | None:
    """Return seconds from records of everything the same but the upstream; the nearest counts."""
    wanted = (cell.task_name, cell.engine, settings.identity(), corpus.fingerprint)
    best: tuple[float, float] | None = None
    for record in finished.scores:
        found = (record.task, record.engine, record.settings, record.corpus.fingerprint)
        cost, total = record.upstream.cost, record.seconds.get("total")
        if found != wanted or cost is None or total is None:
            continue
        if cell.engine == "onepass" and not record.seconds.get("features"):
            continue  # it found the features made by another
        ratio = size.macs_32 / max(cost.macs_32, 1)
        distance = abs(ratio - 1)
        if best is None or distance < best[0]:
            # The share of one seed; the estimate is that of all seeds of its run.
            best = distance, total * record.seeds_together * ratio
    return None if best is None else best[1]


def _speed(device: str) -> float:
    """Return floating-point operations per second of a forward pass on this machine."""
    matrix = torch.rand(2048, 2048, device=device)
    best = float("inf")
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best * _SHARE_OF_PEAK


def _answer(plan: Plan, rows: Sequence[Estimate]) -> Answer:
    todo = [row for row in rows if row.basis != "done"]
    known = [row.seconds for row in todo if row.seconds is not None]
    spaces = [row.bytes for row in todo if row.bytes is not None]
    unknown = sum(row.seconds is None or row.bytes is None for row in todo)
    lines = [(row.cell.title, _duration(row.seconds), _space(row.bytes), row.basis) for row in rows]
    total = (
        f"{len(rows)} cells, {len(rows) - len(todo)} done; the others: about "
        f"{_duration(sum(known))} one after the other, {_space(sum(spaces))} on disk"
    )
    if unknown:
        total += f"; {unknown} of them could not be estimated"
    figures = {
        "cells": [
            {
                "cell": row.cell.title,
                "done": row.basis == "done",
                "seconds": row.seconds,
                "bytes": row.bytes,
                "basis": row.basis,
            }
            for row in rows
        ],
        "done": len(rows) - len(todo),
        "seconds": sum(known),
        "bytes": sum(spaces),
        "not_estimated": unknown,
    }
    text = table(lines, ("cell", "time", "disk", "from")) + "\n" + total
    return Answer(figures, text, (f"nothing was written; without --dry-run: {plan.output}",))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _space(count: int | None) -> str:
    if count is None:
        return "?"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
