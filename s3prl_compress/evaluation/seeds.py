"""`score_seeds`: the cells of an encoder that differ in their seeds only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..common.errors import InputError
from ..common.precision import full_precision
from ..encoder import SpeechEncoder
from ..encoder.adapter import UpstreamAdapter
from ..results.records import Engine, Padding, ScoreRecord
from ..tasks.registry import find_task
from . import onepass
from .cell import cell_lock, finished_record, work_folder
from .score import Order, make_job, open_order, score_order, write_result

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_MOST = 1000
"""Maximum number of seeds in one range: more are a typing error."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a text such as "0-9" or "0,3,5", in its order.

    Raises:
        InputError: anything else, or a seed that is there twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise InputError(
                f"seeds {text}: {part.strip()!r} is neither a seed nor a range; "
                "give seeds as 0-9 or 0,3,5"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first < _MOST:
            raise InputError(f"seeds {text}: {part.strip()} must go up, by less than {_MOST}")
        seeds += range(first, last + 1)
    return _checked(seeds)


def score_seeds(
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    task: str = "ks",
    *,
    seeds: Sequence[int],
    data: str | Path,
    output: str | Path,
    engine: Engine = "onepass",
    recipe: str | Path = "smoke",
    device: str | None = None,
    padding: Padding | None = None,
    name: str | None = None,
    force: bool = False,
    cache: str | Path | None = None,
    normalize: bool | None = None,
) -> list[ScoreRecord]:
    """Score an encoder on a task with several seeds and return their records, in this order.

    The one-pass engine trains all seeds together that are not in `output` yet, so that ten of them
    cost little more than one. The records are those that `score` writes for each seed alone, up to
    rounding in training and to `seconds`, of which each has its share. On the engine s3prl the
    seeds run one after the other.

    Args:
        source: see `score`, as all other arguments.
        task: one that trains a head, as `ctc` does not.
        seeds: each once.

    Raises:
        InputError: as `score`; or seeds that are none, or one of them twice.
    """
    if not find_task(task).trains_head:
        raise InputError(f"task {task}: nothing is trained, so it takes no seeds; leave that out")
    seeds = _checked(seeds)
    order = open_order(
        source,
        task,
        data,
        output,
        engine,
        recipe,
        min(seeds),
        device,
        padding,
        name,
        cache,
        normalize,
    )
    orders = [replace(order, seed=seed) for seed in seeds]
    if engine == "onepass":
        return _score_together(orders, force=force)
    return [score_order(one, engine, force=force) for one in orders]


def _checked(seeds: Sequence[int]) -> tuple[int, ...]:
    if not seeds or len(set(seeds)) < len(seeds):
        given = ",".join(map(str, seeds)) or "none"
        raise InputError(f"seeds {given}: give at least one, and each only once")
    return tuple(seeds)


def _score_together(orders: Sequence[Order], *, force: bool) -> list[ScoreRecord]:
    """Score cells of the one-pass engine that differ in their seeds only, all in one run.

    Each record is written as soon as its seed is done. Cells that are complete, or that another
    process completes while this one waits for it, are not run again.
    """
    output = orders[0].output
    stems = {order.stem("onepass", None): order for order in orders}

    def finished() -> dict[str, ScoreRecord]:
        records = {} if force else {stem: finished_record(output, stem) for stem in stems}
        return {stem: record for stem, record in records.items() if record is not None}

    found = finished()
    with ExitStack() as held:
        # In an order that all processes have in common: none waits for another in a circle.
        for stem in sorted(stems.keys() - found.keys()):
            held.enter_context(cell_lock(output, stem))
        held.enter_context(full_precision())
        found = finished()
        missing = [stem for stem in stems if stem not in found]
        jobs = [
            make_job(stems[stem], "onepass", None, work_folder(output, stem, empty=force))
            for stem in missing
        ]
        results = onepass.run_seeds(jobs) if jobs else iter(())
        for stem, job, result in zip(missing, jobs, results, strict=True):
            total = sum(result.seconds.values())
            found[stem] = write_result(stems[stem], "onepass", None, job, result, total, len(jobs))
    return [found[stem] for stem in stems]
