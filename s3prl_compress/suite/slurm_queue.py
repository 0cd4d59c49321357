"""The queue of a Slurm cluster, to which a suite's jobs are submitted through submitit."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import InputError
from ..common.extras import require_extra
from .groups import CellGroup
from .slurm_job import GroupJob
from .suite_file import ClusterEntry


class SlurmQueue:
    """The queue of a Slurm cluster.

    Args:
        folder: folder for submitit's own files, on a file system that all nodes share.
        entry: the resources of the jobs.

    Raises:
        InputError: submitit is not installed, or this machine cannot submit jobs.
    """

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

    def submit(self, group: CellGroup, job: GroupJob, after: Sequence[str]) -> str:
        """Submit a job that starts when the jobs in `after` have ended; return its id.

        Raises:
            InputError: Slurm refuses the job.
        """
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
        """Return the jobs that have not ended."""
        # submitit asks sacct, which needs Slurm's accounting; many clusters run without it.
        command = ["squeue", "--me", "--noheader", "--format=%A"]
        try:
            listing = subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            return set(job_ids)  # the controller does not respond for a moment
        return set(job_ids) & set(listing.stdout.split())

    def log(self, job_id: str) -> Path:
        """Return the file that a job's standard error is written to."""
        return self._folder / "jobs" / f"{job_id}_0_log.err"


def _submitit() -> Any:
    require_extra("cluster", "--cluster")
    import submitit

    return submitit
