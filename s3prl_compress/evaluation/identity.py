"""The identity of a cell: everything that decides its result, and nothing else.

`score`, `score_seeds`, the choice of a learning rate and a suite's status all ask here whether a
record is the one that a cell would write.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..results.records import Engine, ScoreRecord, Upstream
from ..tasks.base.engine import ENGINE_VERSIONS
from ..tasks.base.own_head import OwnHead
from ..tasks.base.task import Settings, Task


def cell_identity(
    checkpoint: str,
    corpus: str,
    task: Task,
    settings: Settings,
    engine: Engine,
    seed: int | None,
    learning_rate: float | None = None,
) -> dict[str, Any]:
    """Return the identity of a cell that trains a head, ready for JSON.

    Args:
        checkpoint: fingerprint of the upstream.
        corpus: fingerprint of the corpus.
        task: its declaration.
        settings: of the recipe, with the padding that is used.
        engine: that trains the head.
        seed: of the head.
        learning_rate: the rate that the one-pass engine chose, if the settings leave it to that
            engine. It changes the result, so it belongs to the cell, though not to the settings.
    """
    identity: dict[str, Any] = {
        "task": task.name,
        "task_version": task.version,
        "checkpoint": checkpoint,
        "corpus": corpus,
        "settings": settings.identity(),
        "engine": engine,
        "engine_version": ENGINE_VERSIONS[engine],
        "padding": settings.padding,
        "seed": seed,
    }
    if learning_rate is not None:
        identity["learning_rate"] = learning_rate
    return identity


def record_identity(record: ScoreRecord) -> dict[str, Any]:
    """Return the identity of the cell that wrote a record, to be compared with `cell_identity`."""
    identity: dict[str, Any] = {
        "task": record.task,
        "task_version": record.task_version,
        "checkpoint": record.upstream.checkpoint_sha256,
        "corpus": record.corpus.fingerprint,
        "settings": record.settings,
        "engine": record.engine,
        "engine_version": record.engine_version,
        "padding": record.padding,
        "seed": record.seed,
    }
    if record.rate_choice == "one-pass":
        identity["learning_rate"] = record.learning_rate
    return identity


def own_head_identity(
    checkpoint: str, corpus: str, task: Task, head: OwnHead[Any]
) -> dict[str, Any]:
    """Return the identity of a cell in which nothing is trained: no seed, one engine."""
    return {
        "task": task.name,
        "task_version": task.version,
        "checkpoint": checkpoint,
        "corpus": corpus,
        "settings": dict(head.settings),
        "engine_version": ENGINE_VERSIONS[head.engine],
    }


def same_own_head_cell(record: ScoreRecord, identity: Mapping[str, Any]) -> bool:
    """Tell whether a record is the one of a cell in which nothing is trained."""
    written = record_identity(record)
    return {key: written[key] for key in identity} == identity


def stem_of(upstream: Upstream, parts: Sequence[str], identity: Mapping[str, Any]) -> str:
    """Return a cell's file stem: the upstream's name, `parts`, and a hash of the identity."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    name = re.sub(r"[^\w.+-]+", "-", upstream.name).strip("-.") or "upstream"
    return ".".join((name, *parts, digest[:8]))
