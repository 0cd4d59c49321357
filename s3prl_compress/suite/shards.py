"""Jobs that each compute a shard of the features of an upstream on a task.

The job that needs the features waits for them, merges them, and computes what is missing: it does
not fail if some of them did.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Sequence
from dataclasses import replace

from ..evaluation.rates import onepass_scores
from ..evaluation.shards import missing_shards, why_not_split
from ..probing.shards import Shard, stored_identities
from ..tasks.base.engine import WORK_FOLDER
from ..tasks.registry import corpus_folder, find_task, open_corpus
from .cells import SuiteCell
from .groups import CellGroup
from .plan import SuitePlan
from .status import SuiteStatus


def with_shards(
    plan: SuitePlan, groups: Sequence[CellGroup], status: SuiteStatus
) -> tuple[list[CellGroup], list[str]]:
    """Put jobs for shards before each job that would compute features by itself.

    Jobs that share their features share these jobs too.

    Returns:
        All jobs, and a line for each job that cannot be split.
    """
    count = plan.suite.cluster.shards
    if count == 1:
        return list(groups), []
    stored = stored_identities(plan.records / WORK_FOLDER / "features")
    names: dict[Hashable, tuple[str, ...]] = {}
    found: list[CellGroup] = []
    unsplit = []
    for group in groups:
        cell = group.cells[0]
        if cell.engine != "onepass" or not _is_scored_by_onepass(plan, cell):
            found.append(group)
            continue
        settings = status.settings(cell, "onepass")
        assert cell.task is not None
        task = plan.suite.tasks[cell.task]
        reason = why_not_split(find_task(task.task), settings)
        if reason is not None:
            unsplit.append(f"{task.task} {cell.upstream} is not split into shards: {reason}")
            found.append(group)
            continue
        # Settings of the head do not matter.
        decisive = ("padding", "crops_per_file", "longest_seconds", "crops_per_clip")
        same = settings.model_dump(include={*decisive, "seconds_per_batch"})
        key = (cell.upstream, task.task, task.data, *same.values())
        if key not in names:
            shards = [
                CellGroup(shard.stem, (shard,), group.depends_on)
                for shard in _missing(plan, cell, status, stored, count)
            ]
            names[key] = tuple(shard.name for shard in shards)
            found += shards
        found.append(replace(group, depends_on=(*group.depends_on, *names[key])))
    return found, unsplit


def without_late_shards(groups: Sequence[CellGroup], queued: Container[str]) -> list[CellGroup]:
    """Leave out shards that only jobs need that are queued already, and do not wait for them."""
    awaited = {name for group in groups if group.name not in queued for name in group.depends_on}
    return [
        group
        for group in groups
        if not group.is_shard or group.name in awaited or group.name in queued
    ]


def _missing(
    plan: SuitePlan,
    cell: SuiteCell,
    status: SuiteStatus,
    stored: Sequence[dict[str, object]],
    count: int,
) -> list[SuiteCell]:
    """Return a cell for each shard of a score's features that is not stored yet."""
    assert cell.task is not None
    task, encoder = plan.suite.tasks[cell.task], status.encoder(cell.upstream)
    folder = corpus_folder(task.task, task.data, plan.corpora)
    shards = [Shard(number, count) for number in range(1, count + 1)]
    if stored and encoder is not None and folder.exists():
        shards = missing_shards(
            stored,
            count,
            encoder=encoder,
            task=task.task,
            corpus=open_corpus(folder, task.task),
            settings=status.settings(cell, "onepass"),
        )
    return [
        SuiteCell(
            kind="features",
            upstream=cell.upstream,
            task=cell.task,
            task_name=cell.task_name,
            data=cell.data,
            shard=shard.number,
            shards=shard.count,
        )
        for shard in shards
    ]


def _is_scored_by_onepass(plan: SuitePlan, cell: SuiteCell) -> bool:
    entry = next(entry for entry in plan.suite.upstreams if entry.name == cell.upstream)
    return onepass_scores(find_task(str(cell.task_name)), third_party=entry.s3prl is not None)
