"""Downstream evaluation: `score` one upstream on one task.

Other packages use the names below, and these modules: `identity` (what makes two cells the same),
`onepass` (the engine), `rates` (learning rates chosen by one-pass) and `shards` (parts of what
one-pass stores).
"""

from ..tasks.base.corpus import Corpus
from ..tasks.base.own_head import LanguageModelOptions
from ..tasks.base.task import Settings, Task
from ..tasks.registry import available_tasks, load_settings, open_corpus
from .cell import record_path
from .own_head import score_test_sets
from .score import score
from .seeds import parse_seeds, score_seeds

__all__ = [
    "Corpus",
    "LanguageModelOptions",
    "Settings",
    "Task",
    "available_tasks",
    "load_settings",
    "open_corpus",
    "parse_seeds",
    "record_path",
    "score",
    "score_seeds",
    "score_test_sets",
]
