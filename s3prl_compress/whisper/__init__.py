"""Whisper's encoder-decoder: reading, compressing without training, recognising, saving, loading.

    from s3prl_compress.whisper import compress, load, save

    whisper = load("openai/whisper-large-v3")
    smaller = compress(whisper, "clustering", sparsity=0.1, part="both")
    save(smaller, "out/w10")
    tokens = load("out/w10").model.generate(input_features)

The names below are the public face, with these modules: `cost`, `exporters`, `normalization`,
`recognition` and `shape`.
"""

from ..encoder.importers.whisper_source import is_whisper
from .checkpoint import save
from .compression import check_settings, compress, find_method
from .cost import describe, fingerprint
from .counting import Counts, count, sparsities
from .loading import load
from .model import Whisper
from .recognition import Recogniser, Transcript, language_code
from .shape import PARTS, Part, WhisperShape
from .timing import time_whisper

__all__ = [
    "PARTS",
    "Counts",
    "Part",
    "Recogniser",
    "Transcript",
    "Whisper",
    "WhisperShape",
    "check_settings",
    "compress",
    "count",
    "describe",
    "find_method",
    "fingerprint",
    "is_whisper",
    "language_code",
    "load",
    "save",
    "sparsities",
    "time_whisper",
]
