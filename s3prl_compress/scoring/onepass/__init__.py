"""The one-pass engine: each utterance goes through the upstream once, then heads are trained."""

from __future__ import annotations

import importlib

from ..engine import EngineResult, Job, RunJob

_TASKS = {"ks": "keywords", "sid": "utterances", "er": "utterances", "asr": "recognition"}
"""The module that trains a task's head."""


def run(job: Job) -> EngineResult:
    """Score the job's encoder; the task's module says what is equal to s3prl and what is not."""
    train: RunJob = importlib.import_module(f"{__name__}.{_TASKS[job.corpus.task]}").run
    return train(job)
