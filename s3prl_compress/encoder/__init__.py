"""What a speech encoder is: its shape, layers, forward pass, importers, checkpoint, cost."""

from .checkpoint import fingerprint, is_checkpoint, read_config
from .cost import LEADERBOARD_COUNTS, LEADERBOARD_SAMPLES, cost, describe, macs
from .head import CTCHead
from .inference import inference_copy
from .init import random_encoder
from .loading import load, load_unless_loaded, normalization_note, save
from .model import PADDINGS, SAMPLING_RATE, Padding, SpeechEncoder
from .provenance import MethodStep, Provenance
from .shape import (
    NAMED_SHAPES,
    EncoderShape,
    HeadShape,
    LayerShape,
    LinearShape,
    dense_shape,
    named_shape,
)

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
