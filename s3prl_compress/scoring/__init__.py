"""What an encoder is worth: tasks, corpora, the one-pass engine, and `score`."""

from .cell import record_path
from .corpus import KeywordCorpus, check_corpus, open_corpus
from .score import score
from .task import TASKS, Settings, Task, load_settings

__all__ = [
    "TASKS",
    "KeywordCorpus",
    "Settings",
    "Task",
    "check_corpus",
    "load_settings",
    "open_corpus",
    "record_path",
    "score",
]
