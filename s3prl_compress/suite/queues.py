"""The queues that a suite's jobs are submitted to: Slurm, or processes on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..common.errors import InputError
from ..common.extras import require_extra
from .groups import CellGroup
from .slurm_job import GroupJob
from .suite_file import ClusterEntry


class JobQueue(Protocol):
    """A queue that runs jobs."""

    max_jobs: int
    """Maximum number of unfinished jobs in the queue."""

    def can_submit(self, group: CellGroup, ended: Container[str]) -> bool:
        """Tell whether a group may be submitted once the groups named in `ended` have ended."""

    def submit(self, group: CellGroup, job: GroupJob, after: Sequence[str]) -> str:
        """Submit a job that starts when the jobs in `after` have ended; return its id."""

    def unfinished(self, job_ids: Sequence[str]) -> set[str]:
        """Return the jobs that have not ended."""

    def log(self, job_id: str) -> Path:
        """Return the file that a job's standard error is written to."""

    def detach(self) -> None:
        """Cancel the jobs, or tell the user what becomes of them, when this process is stopped."""


class SlurmQueue:
    """The queue of a Slurm cluster."""

    max_jobs = sys.maxsize

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
                "--cluster slurm: srun not found; run the command on a node that can submit jobs"
            ) from error

    def can_submit(self, group: CellGroup, ended: Container[str]) -> bool:
        """See `JobQueue.can_submit`."""
        return True  # Slurm itself waits for dependencies

    def submit(self, group: CellGroup, job: GroupJob, after: Sequence[str]) -> str:
        """See `JobQueue.submit`."""
        entry = self._entry
        more = dict(entry.more) | {"requeue": True}
        if after:
            # afterany, not afterok: cells whose upstream failed report that themselves, at once.
            more["dependency"] = "afterany:" + ":".join(after)
        given: dict[str, Any] = {
            "partition": entry.partition,
            "account": entry.account,
            "qos": entry.qos,
            "constraint": entry.constraint,
            "gpus_per_node": entry.gpus or None,
            "mem": None if entry.memory_gb is None else f"{round(entry.memory_gb * 1024)}MB",
            "setup": list(entry.setup) or None,
            "exclusive": True if group.measures_time and entry.exclusive_timing else None,
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

    def unfinished(self, job_ids: Sequence[str]) -> set[str]:
        """See `JobQueue.unfinished`."""
        # submitit asks sacct, which needs Slurm's accounting; many clusters run without it.
        command = ["squeue", "--me", "--noheader", "--format=%A"]
        try:
            listing = subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            return set(job_ids)  # the controller does not respond for a moment
        return set(job_ids) & set(listing.stdout.split())

    def log(self, job_id: str) -> Path:
        """See `JobQueue.log`."""
        return self._folder / "jobs" / f"{job_id}_0_log.err"

    def detach(self) -> None:
        """See `JobQueue.detach`."""
        print(
            "\nthe jobs continue without this process; run the same command to reattach to them, "
            "or scancel to end them",
            file=sys.stderr,
        )


class LocalQueue:
    """Processes on this machine, started by submitit's local executor, one at a time."""

    max_jobs = 1

    def __init__(self, folder: Path, entry: ClusterEntry) -> None:
        self._executor = _submitit().LocalExecutor(folder=folder / "jobs")
        self._executor.update_parameters(timeout_min=max(1, round(entry.hours * 60)))
        self._folder = folder
        self._jobs: dict[str, Any] = {}

    def can_submit(self, group: CellGroup, ended: Container[str]) -> bool:
        """See `JobQueue.can_submit`."""
        return all(name in ended for name in group.depends_on)

    def submit(self, group: CellGroup, job: GroupJob, after: Sequence[str]) -> str:
        """See `JobQueue.submit`."""
        started = self._executor.submit(job)
        self._jobs[str(started.job_id)] = started
        return str(started.job_id)

    def unfinished(self, job_ids: Sequence[str]) -> set[str]:
        """See `JobQueue.unfinished`."""
        # Jobs of an earlier run ended with that run, so unknown ids have ended.
        return {i for i in job_ids if i in self._jobs and not self._jobs[i].done()}

    def log(self, job_id: str) -> Path:
        """See `JobQueue.log`."""
        return self._folder / "jobs" / f"{job_id}_0_log.err"

    def detach(self) -> None:
        """See `JobQueue.detach`."""
        for job in self._jobs.values():
            job.cancel(check=False)


def _submitit() -> Any:
    require_extra("cluster", "--cluster")
    import submitit

    return submitit
