"""What an encoder is worth: tasks, corpora, the one-pass engine, and `score`."""

from ..tasks.base.corpus import Corpus
from ..tasks.base.task import TASKS, Settings, Task, load_settings
from ..tasks.registry import open_corpus
from .cell import record_path
from .score import score
from .seeds import parse_seeds, score_seeds

__all__ = [
    "TASKS",
    "Corpus",
    "Settings",
    "Task",
    "load_settings",
    "open_corpus",
    "parse_seeds",
    "record_path",
    "score",
    "score_seeds",
]
