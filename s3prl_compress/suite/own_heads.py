"""Tasks that train no head, in a suite: which upstreams can be scored, checked beforehand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from ..common.errors import InputError
from ..tasks.base.own_head import LanguageModelOptions, OwnHead, UnsuitableModelError
from ..tasks.registry import find_task, open_corpus
from .cells import SuiteCell
from .suite_file import Suite, TaskEntry, UpstreamEntry

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
    for place, task in enumerate(suite.tasks):
        if find_task(task.task).trains_head:
            _check_trained(task)
            continue
        _check_keys(task)
        head = _head(task)
        if task.lm is not None:
            _check_language_model(task, task.lm, head)
        scored = dict.fromkeys(cell.upstream for cell in cells if cell.task == place)
        can_score = _suitable(head, entries)
        lacking = [name for name in scored if not can_score(name)]
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


def _suitable(head: OwnHead[Any], entries: Mapping[str, UpstreamEntry]) -> Callable[[str], bool]:
    """Return a function that tells whether an upstream has the output layer, or will have it."""

    @cache
    def has_layer(name: str) -> bool:
        entry = entries[name]
        if entry.base is not None:
            return entry.method in head.made_by or has_layer(entry.base)
        if entry.source is None:  # random weights, or one of s3prl's own
            return False
        try:
            head.load(entry.source, normalize=entry.normalize)
        except UnsuitableModelError:
            return False
        return True

    return has_layer


def _head(task: TaskEntry) -> OwnHead[Any]:
    try:
        return find_task(task.task).load_own_head(task.options)
    except InputError as error:
        raise InputError(str(error).replace("task ", "tasks: ", 1)) from error


def _check_trained(task: TaskEntry) -> None:
    if task.options:
        raise InputError(
            f"tasks: {task.task}: options: its settings are those of a recipe; leave that out"
        )
    if task.lm is not None:
        raise InputError(f"tasks: {task.task}: lm: its heads are decoded without; remove it")


def _check_language_model(
    task: TaskEntry, options: LanguageModelOptions, head: OwnHead[Any]
) -> None:
    """Check its files and its dev set, if the corpus does not have to be made first."""
    if os.path.exists(task.data):
        try:
            head.with_language_model(options, open_corpus(task.data, task.task))
        except InputError as error:
            raise InputError(f"tasks: {task.task}: lm: {error}") from error


def _check_keys(task: TaskEntry) -> None:
    given = [key for key in _OF_TRAINING if key in task.model_fields_set]
    if given:
        raise InputError(
            f"tasks: {task.task}: {', '.join(given)}: no head is trained; leave that out"
        )
