"""Run a suite as jobs on Slurm, through submitit.

Slurm receives all jobs at once, with their dependencies, and runs them even if this process ends:
the same command then reattaches to the jobs that are still queued and submits the missing ones.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..common.files import write_atomically
from .cells import SuiteCell
from .corpora import corpus_fingerprint
from .groups import CellGroup, groups_of
from .plan import CellResult, SuitePlan
from .shards import with_shards, without_late_shards
from .slurm_job import GroupJob, cells_text, read_result, result_path
from .slurm_queue import SlurmQueue
from .status import SuiteStatus
from .worker import last_lines

_RESULT_TIMEOUT = 10.0
"""Seconds to wait for the result files of a finished job: network file systems lag behind."""


def run_on_cluster(
    plan: SuitePlan,
    cells: Sequence[SuiteCell],
    *,
    seconds_between: float = 2.0,
) -> list[tuple[SuiteCell, CellResult]]:
    """Run the cells as jobs, wait for all of them, and return their results.

    The results of jobs that computed a shard of features (see `shards`) come last.

    Args:
        plan: the suite and where its output goes.
        cells: the cells to run.
        seconds_between: interval between two queries of the queue, in seconds.

    Raises:
        InputError: submitit is not installed, or Slurm is not available or refuses a job.
    """
    folder = plan.output / "cluster"
    queue = SlurmQueue(folder, plan.suite.cluster)
    entries = plan.suite.tasks
    status = SuiteStatus(plan, lambda index: corpus_fingerprint(entries[index], plan.corpora))
    complete = _complete(status, cells)
    # A failure that an earlier run recorded for a cell that is complete by now would make every
    # job that depends on the cell give up.
    _remove_results(folder / "results", complete)
    groups = groups_of(plan.suite, [cell for cell in cells if cell not in complete])
    groups, unsplit = with_shards(plan, groups, status)
    for line in unsplit:
        _log(line)
    job_ids = _still_queued(folder, queue, groups)
    groups = without_late_shards(groups, job_ids)
    try:
        _submit_and_wait(plan, groups, queue, job_ids, folder, seconds_between)
    except BaseException:
        if job_ids:
            _log(
                "\nthe jobs continue without this process; run the same command to reattach to "
                "them, or scancel to end them"
            )
        raise
    results = complete | {
        cell: _result(queue, job_ids[group.name], folder / "results", cell)
        for group in groups
        for cell in group.cells
    }
    shards = [group.cells[0] for group in groups if group.is_shard]
    return [(cell, results[cell]) for cell in (*cells, *shards)]


def _submit_and_wait(
    plan: SuitePlan,
    groups: Sequence[CellGroup],
    queue: SlurmQueue,
    job_ids: dict[str, str],
    folder: Path,
    seconds_between: float,
) -> None:
    """Submit every group, and wait until all jobs have ended.

    `job_ids` holds the jobs that are queued already, by group name; new ones are added to it.
    """
    results = folder / "results"
    pending = [group for group in groups if group.name not in job_ids]
    for group in pending:
        _remove_results(results, group.cells)
    shards = sum(group.is_shard for group in groups)
    what = f" ({shards} of them compute shards of features)" if shards else ""
    _log(f"{len(groups)} jobs{what}, {len(job_ids)} of them queued already")
    for group in pending:
        after = [job_ids[name] for name in group.depends_on]
        job = GroupJob(plan.model_dump_json(by_alias=True), cells_text(group.cells), str(results))
        job_ids[group.name] = queue.submit(group, job, after)
        write_atomically(folder / "jobs.json", json.dumps(job_ids, indent=1) + "\n")
    ended: set[str] = set()
    while len(ended) < len(groups):
        time.sleep(seconds_between)
        unfinished = queue.unfinished([i for name, i in job_ids.items() if name not in ended])
        for group in groups:
            if group.name not in ended and job_ids[group.name] not in unfinished:
                ended.add(group.name)
                _log(f"[{len(ended)}/{len(groups)}] {group.name}: {_summary(results, group)}")


def _complete(status: SuiteStatus, cells: Sequence[SuiteCell]) -> dict[SuiteCell, CellResult]:
    """Return the cells that need no job because they are complete."""
    return {
        cell: CellResult(title=cell.title, state="skipped", message="skipped: already complete")
        for cell in cells
        if status.is_complete(cell)
    }


def _still_queued(folder: Path, queue: SlurmQueue, groups: Sequence[CellGroup]) -> dict[str, str]:
    """Return the job ids of an earlier run that have not ended, by group name."""
    try:
        known: dict[str, str] = json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    unfinished = queue.unfinished(list(known.values()))
    names = {group.name for group in groups}
    return {name: i for name, i in known.items() if i in unfinished and name in names}


def _remove_results(results: Path, cells: Iterable[SuiteCell]) -> None:
    for cell in cells:
        result_path(results, cell).unlink(missing_ok=True)


def _summary(results: Path, group: CellGroup) -> str:
    """Summarize a finished job in a few words."""
    written = [read_result(results, cell) for cell in group.cells]
    if len(written) == 1:
        return "no result" if written[0] is None else written[0].message
    done = sum(result is not None and result.state != "failed" for result in written)
    return f"{done} of {len(written)} cells complete"


def _result(queue: SlurmQueue, job_id: str, results: Path, cell: SuiteCell) -> CellResult:
    """Return the result that a job wrote for a cell; a failure if it wrote none."""
    deadline = time.monotonic() + _RESULT_TIMEOUT
    while (result := read_result(results, cell)) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    if result is not None:
        return result
    lines = last_lines(queue.log(job_id))
    return CellResult(
        title=cell.title,
        state="failed",
        message=f"job {job_id} ended without a result; see the end of {queue.log(job_id)}",
        details="\n".join(lines),
    )


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
