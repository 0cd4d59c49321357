"""Checkpoint folders as models of transformers.

After `import s3prl_compress`, transformers' `AutoModel`, `AutoModelForCTC` and `pipeline` load
checkpoint folders of this package, local or on the model hub. Without that import they do so by
the folder's modeling file (`trust_remote_code=True`), which imports the classes from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.lazy import imported_on_first_use

if TYPE_CHECKING:
    from .configuration import CompressedSpeechConfig
    from .modeling import CompressedSpeechForCTC, CompressedSpeechModel

__all__ = ["CompressedSpeechConfig", "CompressedSpeechForCTC", "CompressedSpeechModel"]

__getattr__, __dir__ = imported_on_first_use(
    __name__,
    {
        "CompressedSpeechConfig": "configuration",
        "CompressedSpeechForCTC": "modeling",
        "CompressedSpeechModel": "modeling",
    },
)
