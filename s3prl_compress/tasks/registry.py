"""The registry of tasks, and their corpora by task name."""

from __future__ import annotations

import hashlib
import importlib
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.errors import InputError

if TYPE_CHECKING:
    from ..results.records import Engine
    from .base.corpus import Corpus
    from .base.task import Settings, Task

ENTRY_POINT_GROUP = "s3prl_compress.tasks"
"""Another package names a `Task` here, as `NAME = package.module:attribute`."""

DEMO = "demo"
"""In place of a table or a folder: the generated speech that comes with the package."""

_BUILT_IN = (
    "ks",
    "sid",
    "er",
    "asr",
    "pr",
    "ic",
    "ctc",
    "whisper",
)
"""Folders beside this file; the package of each holds its `TASK`."""

_failed: dict[str, str] = {}


def task_names() -> list[str]:
    """Return the names of all tasks without importing one; those that cannot be are among them."""
    return list(dict.fromkeys((*_BUILT_IN, *(entry.name for entry in _third_party()))))


def available_tasks() -> dict[str, Task]:
    """Return every task by name: those of this package, then those of installed packages.

    A third-party task that cannot be imported, or that takes a built-in name, is left out with a
    warning.
    """
    tasks = {name: _built_in(name) for name in _BUILT_IN}
    for entry in _third_party():
        if entry.name in _failed:
            continue
        try:
            if entry.name in tasks:
                raise ValueError(f"the name {entry.name} is taken")
            tasks[entry.name] = _checked(entry.load(), entry.name)
        except Exception as error:  # third-party code must not break ours
            _failed[entry.name] = f"{type(error).__name__}: {error}"
            warnings.warn(
                f"task {entry.name} of {entry.value} is left out: {_failed[entry.name]}",
                stacklevel=2,
            )
    return tasks


def find_task(name: str) -> Task:
    """Return the task of this name.

    Raises:
        InputError: there is no such task.
    """
    if name in _BUILT_IN:
        return _built_in(name)
    tasks = available_tasks()
    if name not in tasks:
        broken = f" (it failed to load: {_failed[name]})" if name in _failed else ""
        raise InputError(f"task {name}: not known{broken}; give one of {', '.join(sorted(tasks))}")
    return tasks[name]


def load_settings(task: str, recipe: str | Path, engine: Engine) -> tuple[Settings, str]:
    """Return the settings of a recipe, and its name in records; see `Task.load_settings`."""
    return find_task(task).load_settings(recipe, engine)


def open_corpus(root: Path | str, task: str = "ks") -> Corpus:
    """Find the parts of a corpus folder; its `check` says whether they can be used.

    Raises:
        InputError: there is no corpus for this task in the folder.
    """
    root, opened = Path(root), find_task(task)
    if opened.prepare is not None and not root.is_dir():
        raise InputError(f"{root}: no such folder; give a corpus that `prepare {task}` wrote")
    return opened.open_corpus(root)


def prepare_corpus(task: str, metadata: str | Path, output: Path) -> Path:
    """Prepare a corpus from a table, or the packaged one for the word `demo`.

    Some tasks also take the folder of their official corpus.

    Raises:
        InputError: the table has faults, or `output` is something else.
    """
    prepared = find_task(task)
    if str(metadata) != DEMO:
        if prepared.prepare is None:
            raise InputError(
                f"task {task}: takes tables and folders as they are, so there is nothing to "
                f"prepare; next: s3prl-compress score MODEL --task {task} --data {metadata}"
            )
        return prepared.prepare(Path(metadata), output)
    if prepared.demo is None:
        having = (name for name, other in available_tasks().items() if other.demo is not None)
        raise InputError(
            f"task {task}: comes without a demo corpus (there is one for {', '.join(having)}); "
            "give a csv table of recordings"
        )
    return prepared.demo(output)


def locate_corpus(task: str, data: str, below: Path) -> Path:
    """Return the folder of a corpus: `data` itself, or prepared on first use below `below`.

    `data` is a corpus folder, a table for `prepare_corpus` (unless the task reads tables as they
    are), or the word `demo`.
    """
    folder = corpus_folder(task, data, below)
    return folder if folder == Path(data) else prepare_corpus(task, data, folder)


def corpus_folder(task: str, data: str, below: Path) -> Path:
    """Return where `locate_corpus` has a corpus, or would put it; nothing is prepared."""
    if data == DEMO:
        return below / f"{DEMO}_{task}"
    if Path(data).suffix.lower() == ".csv" and find_task(task).prepare is not None:
        table = Path(data).resolve()
        # Tables of one name in folders of one name are still two corpora.
        place = hashlib.sha256(str(table).encode()).hexdigest()[:6]
        return below / f"{table.parent.name}.{task}.{place}"
    return Path(data)


def corpus_figures(folder: Path, task: str) -> dict[str, Any]:
    """Check a corpus and return its sizes and classes, under stable keys."""
    corpus = open_corpus(folder, task)
    corpus.check()
    record = corpus.record()
    return {
        "output": str(folder),
        "task": task,
        "name": record.name,
        "variant": corpus.variant,
        "classes": list(corpus.classes),
        "folds": len(corpus.folds),
        "sizes": record.sizes,
        "generated": record.generated,
        "fingerprint": record.fingerprint,
    }


def _third_party() -> metadata.EntryPoints:
    return metadata.entry_points(group=ENTRY_POINT_GROUP)


def _built_in(name: str) -> Task:
    task: Task = importlib.import_module(f"{__package__}.{name}").TASK
    return task


def _checked(task: object, name: str) -> Task:
    """Return what an entry point names; raise `ValueError` unless it is the task of this name."""
    from .base.task import Task

    if not isinstance(task, Task):
        raise ValueError(f"{task!r} is no Task; name one as package.module:attribute")
    if task.name != name:
        raise ValueError(f"the entry point is called {name}, its task {task.name}")
    return task
