"""A suite as jobs of a cluster, by submitit: Slurm, or processes on this machine.

Slurm gets all jobs at once, with their dependencies, and goes on without us: where this process
ends, the same command takes up the jobs that are still in the queue, and submits what is missing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from ..errors import InputError
from ..files import write_atomically
from .cells import Cell
from .corpora import corpus_fingerprint
from .finished import Finished
from .groups import Group, groups_of
from .job import Job, cells_text, read_result, result_path
from .plan import CellResult, Plan
from .recipe import ClusterEntry
from .worker import last_lines

Cluster = Literal["slurm", "local"]
_GRACE = 10.0
"""Seconds after a job's end in which its result files may still be on their way to us."""


class _Queue(Protocol):
    """Where jobs go."""

    at_once: int
    """Jobs that may be there at the same time."""

    def takes(self, group: Group, ended: Container[str]) -> bool:
        """Tell whether a group may be submitted when those groups have ended."""

    def submit(self, group: Group, job: Job, after: Sequence[str]) -> str:
        """Return the new job's number; it starts when those of `after` have ended."""

    def waiting(self, numbers: Sequence[str]) -> set[str]:
        """Return those of the jobs that have not ended."""

    def log(self, number: str) -> Path:
        """Return where a job's errors are."""

    def leave(self) -> None:
        """Say or do what there is to do about the jobs when this process must end before them."""


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
    queue: _Queue = _Slurm(folder, entry) if cluster == "slurm" else _Local(folder, entry)
    before = _before(plan, cells)
    groups = groups_of(plan.suite, [cell for cell in cells if cell not in before])
    numbers = _taken_up(folder, queue, groups)
    try:
        _do(plan, groups, queue, numbers, folder, seconds_between)
    except BaseException:
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
    queue: _Queue,
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


class _Slurm:
    """Slurm's queue."""

    at_once = sys.maxsize

    def __init__(self, folder: Path, entry: ClusterEntry) -> None:
        submitit = _submitit()
        self._folder, self._entry = folder, entry
        try:
            self._executor = submitit.SlurmExecutor(
                folder=folder / "jobs", max_num_timeout=entry.requeues
            )
        except RuntimeError as error:
            raise InputError(
                "--cluster slurm: there is no srun here; run it on a node that submits jobs"
            ) from error

    def takes(self, group: Group, ended: Container[str]) -> bool:
        return True  # Slurm sees to the order

    def submit(self, group: Group, job: Job, after: Sequence[str]) -> str:
        entry = self._entry
        more = dict(entry.more) | {"requeue": True}
        if after:
            # Any end: a failed upstream's cells say so themselves, in no time.
            more["dependency"] = "afterany:" + ":".join(after)
        given: dict[str, Any] = {
            "partition": entry.partition,
            "account": entry.account,
            "qos": entry.qos,
            "constraint": entry.constraint,
            "gpus_per_node": entry.gpus or None,
            "mem": None if entry.memory_gb is None else f"{round(entry.memory_gb * 1024)}MB",
            "setup": list(entry.setup) or None,
            "exclusive": True if group.times and entry.exclusive_timing else None,
        }
        self._executor.update_parameters(
            job_name=group.name,
            cpus_per_task=entry.cpus,
            time=max(1, round(entry.hours * 60)),
            signal_delay_s=entry.warning_seconds,
            additional_parameters=more,
            **{key: value for key, value in given.items() if value is not None},
        )
        return str(self._executor.submit(job).job_id)

    def waiting(self, numbers: Sequence[str]) -> set[str]:
        # Not submitit's own question, which needs Slurm's accounting; many clusters have none.
        command = ["squeue", "--me", "--noheader", "--format=%A"]
        try:
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            return set(numbers)  # the controller is away for a moment
        return set(numbers) & set(answer.stdout.split())

    def log(self, number: str) -> Path:
        return self._folder / "jobs" / f"{number}_0_log.err"

    def leave(self) -> None:
        _say(
            "\nthe jobs go on without this process: the same command takes them up; "
            "scancel ends them"
        )


class _Local:
    """Processes on this machine, by submitit's local executor."""

    at_once = 1

    def __init__(self, folder: Path, entry: ClusterEntry) -> None:
        self._executor = _submitit().LocalExecutor(folder=folder / "jobs")
        self._executor.update_parameters(timeout_min=max(1, round(entry.hours * 60)))
        self._folder = folder
        self._jobs: dict[str, Any] = {}

    def takes(self, group: Group, ended: Container[str]) -> bool:
        return all(name in ended for name in group.needs)

    def submit(self, group: Group, job: Job, after: Sequence[str]) -> str:
        started = self._executor.submit(job)
        self._jobs[str(started.job_id)] = started
        return str(started.job_id)

    def waiting(self, numbers: Sequence[str]) -> set[str]:
        # One of an earlier run ended with it.
        return {n for n in numbers if n in self._jobs and not self._jobs[n].done()}

    def log(self, number: str) -> Path:
        return self._folder / "jobs" / f"{number}_0_log.err"

    def leave(self) -> None:
        for job in self._jobs.values():
            job.cancel(check=False)


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise InputError(
            "--cluster needs submitit; install it with: pip install s3prl_compress[cluster]"
        ) from error
    return submitit


def _taken_up(folder: Path, queue: _Queue, groups: Sequence[Group]) -> dict[str, str]:
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


def _result(queue: _Queue, number: str, results: Path, cell: Cell) -> CellResult:
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
