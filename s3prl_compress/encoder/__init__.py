"""Speech encoders: shape, layers, forward pass, importers, checkpoints, cost and export.

Other packages use the names below, and these modules: `adapter` (third-party upstreams), `bundled`
(checkpoints that come with the package), `checkpoint`, `companions` (what a checkpoint holds for
transformers), `cost`, `ctc_text`, `exported` (exported models as upstreams), `exporters` (to add an
export target), `frames`, `front_ends` and `importers` (to add an encoder family), `inference`,
`layers`, `linear`, `loading`, `model`, `packed` (which library multiplies matrices), `provenance`,
`serialization` and `shape`. The others are internal.
"""

from .checkpoint import fingerprint, is_checkpoint, read_config
from .cost import LEADERBOARD_COUNTS, LEADERBOARD_SAMPLES, cost, describe, macs
from .head import CTCHead
from .inference import inference_copy
from .init import random_encoder
from .loading import load, load_unless_loaded, normalization_note, save
from .model import PADDINGS, SAMPLING_RATE, Padding, SpeechEncoder
from .named_shapes import NAMED_SHAPES, dense_shape, named_shape
from .provenance import MethodStep, Provenance
from .shape import EncoderShape, HeadShape, LayerShape, LinearShape

__all__ = [
    "LEADERBOARD_COUNTS",
    "LEADERBOARD_SAMPLES",
    "NAMED_SHAPES",
    "PADDINGS",
    "SAMPLING_RATE",
    "CTCHead",
    "EncoderShape",
    "HeadShape",
    "LayerShape",
    "LinearShape",
    "MethodStep",
    "Padding",
    "Provenance",
    "SpeechEncoder",
    "cost",
    "dense_shape",
    "describe",
    "fingerprint",
    "inference_copy",
    "is_checkpoint",
    "load",
    "load_unless_loaded",
    "macs",
    "named_shape",
    "normalization_note",
    "random_encoder",
    "read_config",
    "save",
]
