"""The one-pass engine: each utterance goes through the upstream once, then heads are trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pkgutil import resolve_name

from ..tasks.base.engine import EngineResult, Job, RunSeeds


def run(job: Job) -> EngineResult:
    """Score the job's encoder; see the task's module for its differences from s3prl."""
    (result,) = run_seeds([job])
    return result


def run_seeds(jobs: Sequence[Job]) -> Iterator[EngineResult]:
    """Score an encoder with several seeds, whose jobs share all features; see `RunSeeds`.

    Heads on means over frames train at the same time for all seeds; heads on frames do not.
    """
    train: RunSeeds = resolve_name(jobs[0].task.onepass)
    return train(jobs)
