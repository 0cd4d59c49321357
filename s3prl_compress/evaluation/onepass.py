"""The one-pass engine: each utterance goes through the upstream once, then heads are trained."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence

from ..tasks.base.engine import EngineResult, Job, RunSeeds

_TASKS = {
    "ks": "tasks.ks.onepass",
    "sid": "probing.utterances",
    "er": "probing.utterances",
    "asr": "tasks.asr.onepass",
}
"""The module that trains a task's head."""


def run(job: Job) -> EngineResult:
    """Score the job's encoder; the task's module says what is equal to s3prl and what is not."""
    (result,) = run_seeds([job])
    return result


def run_seeds(jobs: Sequence[Job]) -> Iterator[EngineResult]:
    """Score an encoder with several seeds, whose jobs share all features; see `RunSeeds`.

    The heads of all seeds train at the same time, except those of recognition.
    """
    module = importlib.import_module(f"s3prl_compress.{_TASKS[jobs[0].corpus.task]}")
    train: RunSeeds = module.run_seeds
    return train(jobs)
