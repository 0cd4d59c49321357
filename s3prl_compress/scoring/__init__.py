"""What an encoder is worth: tasks, corpora, the one-pass engine, and `score`."""

from .cell import record_path
from .corpora.base import Corpus
from .corpora.opening import open_corpus
from .score import score
from .seeds import parse_seeds, score_seeds
from .task import TASKS, Settings, Task, load_settings

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
