"""Where a suite's jobs go, by submitit: Slurm's queue, or processes on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..common.errors import InputError
from .groups import Group
from .recipe import ClusterEntry
from .slurm_job import Job


class Queue(Protocol):
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


class SlurmQueue:
    """Slurm's queue."""

    at_once = sys.maxsize

    def __init__(self, folder: Path, entry: ClusterEntry) -> None:
        submitit = _submitit()
        self._refused: type[Exception] = submitit.core.utils.FailedJobError
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
        """See `Queue.takes`."""
        return True  # Slurm sees to the order

    def submit(self, group: Group, job: Job, after: Sequence[str]) -> str:
        """See `Queue.submit`."""
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
        try:
            return str(self._executor.submit(job).job_id)
        except self._refused as error:
            reason = " ".join(str(error).split())
            raise InputError(f"--cluster slurm: {group.name}: {reason}") from error

    def waiting(self, numbers: Sequence[str]) -> set[str]:
        """See `Queue.waiting`."""
        # Not submitit's own question, which needs Slurm's accounting; many clusters have none.
        command = ["squeue", "--me", "--noheader", "--format=%A"]
        try:
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            return set(numbers)  # the controller is away for a moment
        return set(numbers) & set(answer.stdout.split())

    def log(self, number: str) -> Path:
        """See `Queue.log`."""
        return self._folder / "jobs" / f"{number}_0_log.err"

    def leave(self) -> None:
        """See `Queue.leave`."""
        print(
            "\nthe jobs go on without this process: the same command takes them up; "
            "scancel ends them",
            file=sys.stderr,
        )


class LocalQueue:
    """Processes on this machine, by submitit's local executor."""

    at_once = 1

    def __init__(self, folder: Path, entry: ClusterEntry) -> None:
        self._executor = _submitit().LocalExecutor(folder=folder / "jobs")
        self._executor.update_parameters(timeout_min=max(1, round(entry.hours * 60)))
        self._folder = folder
        self._jobs: dict[str, Any] = {}

    def takes(self, group: Group, ended: Container[str]) -> bool:
        """See `Queue.takes`."""
        return all(name in ended for name in group.needs)

    def submit(self, group: Group, job: Job, after: Sequence[str]) -> str:
        """See `Queue.submit`."""
        started = self._executor.submit(job)
        self._jobs[str(started.job_id)] = started
        return str(started.job_id)

    def waiting(self, numbers: Sequence[str]) -> set[str]:
        """See `Queue.waiting`."""
        # One of an earlier run ended with it.
        return {n for n in numbers if n in self._jobs and not self._jobs[n].done()}

    def log(self, number: str) -> Path:
        """See `Queue.log`."""
        return self._folder / "jobs" / f"{number}_0_log.err"

    def leave(self) -> None:
        """See `Queue.leave`."""
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
