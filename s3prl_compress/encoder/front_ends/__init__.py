"""Front ends: what turns waveforms into the Transformer's input, one class per encoder family.

To add a family, register a subclass of `FrontEnd` under the family's name, and an importer for its
checkpoints (`s3prl_compress.encoder.importers`). Nothing else depends on the family.
"""

# Importing a module registers its front ends.
from . import convolutional, whisper
from .base import FrontEnd, FrontEndSettings, Padding, families, front_end_class, register_front_end

__all__ = [
    "FrontEnd",
    "FrontEndSettings",
    "Padding",
    "convolutional",
    "families",
    "front_end_class",
    "register_front_end",
    "whisper",
]
