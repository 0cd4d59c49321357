"""Tasks that train no head, in a suite: which upstreams can be scored, checked beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..common.errors import InputError
from ..encoder import load_unless_loaded
from ..tasks.base.own_head import LanguageModelOptions, OwnHead
from ..tasks.registry import find_task, open_corpus
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
    source = cache(
        lambda name: load_unless_loaded(
            str(entries[name].source), normalize=entries[name].normalize
        )
    )

    def has(head: OwnHead, name: str) -> bool:
        """Whether an upstream has the output layer, or will have it once it is made."""
        entry = entries[name]
        if entry.base is not None:
            return entry.method in head.made_by or has(head, entry.base)
        if entry.source is None:  # random weights, or one of s3prl's own
            return False
        encoder = source(name)
        try:
            head.check(encoder, name)
        except InputError:
            return False
        return True

    for place, task in enumerate(suite.tasks):
        if find_task(task.task).trains_head:
            if task.lm is not None:
                raise InputError(
                    f"tasks: {task.task}: lm: its heads are decoded without; remove it"
                )
            continue
        _check_keys(task)
        if task.lm is not None:
            _check_language_model(task, task.lm)
        head = find_task(task.task).load_own_head()
        scored = [cell.upstream for cell in cells if cell.task == place]
        lacking = [name for name in scored if not has(head, name)]
        if lacking:
            able = ", ".join(name for name in scored if name not in lacking)
            others = f"; or score only the others (upstreams: [{able}])" if able else ""
            raise InputError(
                f"tasks: {task.task}: no {head.needs} in {', '.join(lacking)}: fine-tune a model "
                f"first (method: {' or '.join(head.made_by)}){others}"
            )


def _check_language_model(task: TaskEntry, options: LanguageModelOptions) -> None:
    """Check its files and its dev set, if the corpus does not have to be made first."""
    found = find_task(task.task)
    if Path(task.data).exists():
        try:
            found.load_own_head().with_language_model(options, open_corpus(task.data, task.task))
        except InputError as error:
            raise InputError(f"tasks: {task.task}: lm: {error}") from error


def _check_keys(task: TaskEntry) -> None:
    given = [key for key in _OF_TRAINING if key in task.model_fields_set]
    if given:
        raise InputError(
            f"tasks: {task.task}: {', '.join(given)}: no head is trained; leave that out"
        )
