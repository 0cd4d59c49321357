"""Checkpoint folders as models of transformers.

After `import s3prl_compress`, transformers' `AutoModel`, `AutoModelForCTC` and `pipeline` load
checkpoint folders of this package, local or on the model hub. Without that import they do so by
the folder's modeling file (`trust_remote_code=True`), which imports the classes from here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration import CompressedSpeechConfig
    from .modeling import CompressedSpeechForCTC, CompressedSpeechModel

__all__ = ["CompressedSpeechConfig", "CompressedSpeechForCTC", "CompressedSpeechModel"]

_HOMES = {
    "CompressedSpeechConfig": "configuration",
    "CompressedSpeechForCTC": "modeling",
    "CompressedSpeechModel": "modeling",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
