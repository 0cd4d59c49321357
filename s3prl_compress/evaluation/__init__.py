"""Downstream evaluation: tasks, corpora, the one-pass engine, and `score`."""

from ..tasks.base.corpus import Corpus
from ..tasks.base.task import Settings, Task
from ..tasks.registry import available_tasks, load_settings, open_corpus
from .cell import record_path
from .score import score
from .seeds import parse_seeds, score_seeds

__all__ = [
    "Corpus",
    "Settings",
    "Task",
    "available_tasks",
    "load_settings",
    "open_corpus",
    "parse_seeds",
    "record_path",
    "score",
    "score_seeds",
]
