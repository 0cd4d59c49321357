"""A suite as jobs of a cluster, by submitit: Slurm, or processes on this machine.

Slurm gets all jobs at once, with their dependencies, and goes on without us: where this process
ends, the same command takes up the jobs that are still in the queue, and submits what is missing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..common.files import write_atomically
from .cells import Cell
from .corpora import corpus_fingerprint
from .groups import Group, groups_of
from .plan import CellResult, Plan
from .queues import LocalQueue, Queue, SlurmQueue
from .slurm_job import Job, cells_text, read_result, result_path
from .status import Finished
from .worker import last_lines

Cluster = Literal["slurm", "local"]
_GRACE = 10.0
"""Seconds after a job's end in which its result files may still be on their way to us."""


def run_on_cluster(
    plan: Plan, cells: Sequence[Cell], cluster: Cluster, *, seconds_between: float = 2.0
) -> list[tuple[Cell, CellResult]]:
    """Do the cells as jobs, wait for all of them, and return how each ended.

    Args:
        plan: of the suite.
        cells: those that are to be done.
        cluster: slurm, or local for processes on this machine, one after the other.
        seconds_between: two looks at the queue.

    Raises:
        InputError: submitit or the cluster is not here.
    """
    folder = plan.output / "cluster"
    entry = plan.suite.cluster
    queue: Queue = SlurmQueue(folder, entry) if cluster == "slurm" else LocalQueue(folder, entry)
    before = _before(plan, cells)
    groups = groups_of(plan.suite, [cell for cell in cells if cell not in before])
    numbers = _taken_up(folder, queue, groups)
    try:
        _do(plan, groups, queue, numbers, folder, seconds_between)
    except BaseException:
        if numbers:
            queue.leave()
        raise
    ends = before | {
        cell: _result(queue, numbers[group.name], folder / "results", cell)
        for group in groups
        for cell in group.cells
    }
    return [(cell, ends[cell]) for cell in cells]


def _do(
    plan: Plan,
    groups: Sequence[Group],
    queue: Queue,
    numbers: dict[str, str],
    folder: Path,
    seconds_between: float,
) -> None:
    """Submit the groups, each when it may be, and wait for the end of all.

    `numbers` are the jobs that are in the queue already; the new ones are added to it.
    """
    results = folder / "results"
    unsent = [group for group in groups if group.name not in numbers]
    for group in unsent:
        for cell in group.cells:
            result_path(results, cell).unlink(missing_ok=True)
    _say(f"{len(groups)} jobs, {len(numbers)} of them in the queue already")
    ended: set[str] = set()
    while len(ended) < len(groups):
        for group in list(unsent):
            if len(numbers) - len(ended) >= queue.at_once or not queue.takes(group, ended):
                continue
            after = [numbers[name] for name in group.needs]
            job = Job(plan.model_dump_json(by_alias=True), cells_text(group.cells), str(results))
            numbers[group.name] = queue.submit(group, job, after)
            unsent.remove(group)
            write_atomically(folder / "jobs.json", json.dumps(numbers, indent=1) + "\n")
        time.sleep(seconds_between)
        waiting = queue.waiting([n for name, n in numbers.items() if name not in ended])
        for group in groups:
            known = group.name in numbers and group.name not in ended
            if known and numbers[group.name] not in waiting:
                ended.add(group.name)
                _say(f"[{len(ended)}/{len(groups)}] {group.name}: {_words(results, group)}")


def _before(plan: Plan, cells: Sequence[Cell]) -> dict[Cell, CellResult]:
    """Return the cells that need no job, since they are complete."""
    entries = plan.suite.tasks
    finished = Finished(plan, lambda place: corpus_fingerprint(entries[place], plan.corpora))
    return {
        cell: CellResult(title=cell.title, state="before", words="done before")
        for cell in cells
        if finished.is_finished(cell)
    }


def _taken_up(folder: Path, queue: Queue, groups: Sequence[Group]) -> dict[str, str]:
    """Return the jobs of an earlier run that are still there, by their group's name."""
    try:
        known: dict[str, str] = json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    waiting = queue.waiting(list(known.values()))
    names = {group.name for group in groups}
    return {name: n for name, n in known.items() if n in waiting and name in names}


def _words(results: Path, group: Group) -> str:
    found = [read_result(results, cell) for cell in group.cells]
    if len(found) == 1:
        return "no result" if found[0] is None else found[0].words
    done = sum(result is not None and result.state != "failed" for result in found)
    return f"{done} of {len(found)} cells"


def _result(queue: Queue, number: str, results: Path, cell: Cell) -> CellResult:
    """Return what a job wrote of a cell, or that it wrote nothing."""
    until = time.monotonic() + _GRACE
    while (result := read_result(results, cell)) is None and time.monotonic() < until:
        time.sleep(0.5)
    if result is not None:
        return result
    lines = last_lines(queue.log(number))
    return CellResult(
        title=cell.title,
        state="failed",
        words=f"its job ({number}) ended before it; the end of {queue.log(number)} says why",
        details="\n".join(lines),
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
