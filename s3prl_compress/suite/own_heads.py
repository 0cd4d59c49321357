"""Tasks that train no head, in a suite: which upstreams can be scored, checked beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..common.errors import InputError
from ..tasks.base.own_head import OwnHead, UnsuitableModelError
from ..tasks.base.task import Task
from ..tasks.registry import find_task
from .cells import SuiteCell
from .suite_file import Suite, TaskEntry

_OF_TRAINING = ("recipe", "engines", "padding", "seeds")
"""Keys of a task's entry that say how a head is trained."""


def check_own_heads(suite: Suite, cells: Sequence[SuiteCell]) -> None:
    """Check the entries of tasks that train no head, and the upstreams that they are to score.

    Args:
        suite: as the file has it, whose entries know which keys were given.
        cells: those of the suite that are to run.

    Raises:
        InputError: an entry says how a head is trained, or upstreams lack the output layer.
    """
    entries = {upstream.name: upstream for upstream in suite.upstreams}

    def has(head: OwnHead[Any], name: str) -> bool:
        """Whether an upstream has the output layer, or will have it once it is made."""
        entry = entries[name]
        if entry.base is not None:
            return entry.method in head.made_by or has(head, entry.base)
        if entry.source is None:  # random weights, or one of s3prl's own
            return False
        try:
            head.load(entry.source, normalize=entry.normalize)
        except UnsuitableModelError:
            return False
        return True

    for place, task in enumerate(suite.tasks):
        declared = find_task(task.task)
        if declared.trains_head:
            _check_options(task)
            continue
        _check_keys(task)
        head = _head(declared, task)
        scored = [cell.upstream for cell in cells if cell.task == place]
        lacking = [name for name in scored if not has(head, name)]
        if lacking:
            able = ", ".join(name for name in scored if name not in lacking)
            fixes = []
            if head.made_by:
                fixes.append(f"fine-tune a model first (method: {' or '.join(head.made_by)})")
            if able:
                fixes.append(f"score only the others (upstreams: [{able}])")
            raise InputError(
                f"tasks: {task.task}: no {head.needs} in {', '.join(lacking)}: "
                f"{'; or '.join(fixes) or 'give such a model as source'}"
            )


def _head(declared: Task, task: TaskEntry) -> OwnHead[Any]:
    try:
        return declared.load_own_head(task.options)
    except InputError as error:
        raise InputError(str(error).replace("task ", "tasks: ", 1)) from error


def _check_options(task: TaskEntry) -> None:
    if task.options:
        raise InputError(
            f"tasks: {task.task}: options: its settings are those of a recipe; leave that out"
        )


def _check_keys(task: TaskEntry) -> None:
    given = [key for key in _OF_TRAINING if key in task.model_fields_set]
    if given:
        raise InputError(
            f"tasks: {task.task}: {', '.join(given)}: no head is trained; leave that out"
        )
