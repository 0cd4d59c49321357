"""Checkpoint folders as models of transformers.

After `import s3prl_compress`, transformers' `AutoModel`, `AutoModelForCTC` and `pipeline` load
checkpoint folders of this package, local or on the model hub. Without that import they do so by
the folder's modeling file (`trust_remote_code=True`), which imports this module.
"""

from .configuration import CompressedSpeechConfig
from .modeling import CompressedSpeechForCTC, CompressedSpeechModel

__all__ = ["CompressedSpeechConfig", "CompressedSpeechForCTC", "CompressedSpeechModel"]
