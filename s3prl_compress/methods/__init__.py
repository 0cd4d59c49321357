"""Compression methods, one file or folder each, and their registry.

A method is a function `(encoder, config) -> encoder` under the decorator `register`, with a
subclass of `MethodConfig` for its settings. A new method is one file or folder; another package
registers its own through the entry point group `s3prl_compress.methods`. This module is the public
face, with all that a training-free method needs. Learned methods build on the public faces of
`distillation`, `training` and `surgery`. The modules `clustering`, `low_rank`, `magnitude` and
`layers` also serve Whisper, whose layers they choose from in the same way; `calibration_audio`
draws speech for what is measured on it.
"""

from ..common.method_config import MethodConfig
from ..surgery import HeadSelection, LayerSelection, Selection, select_units
from .registry import (
    MethodInfo,
    available,
    check_settings,
    compress,
    method_step,
    register,
    validated_settings,
)

__all__ = [
    "HeadSelection",
    "LayerSelection",
    "MethodConfig",
    "MethodInfo",
    "Selection",
    "available",
    "check_settings",
    "compress",
    "method_step",
    "register",
    "select_units",
    "validated_settings",
]
