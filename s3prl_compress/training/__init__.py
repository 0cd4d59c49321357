"""What the learned methods share: batches of audio, targets, masks, losses, the loop."""

from ..audio import AudioSet, open_audio
from .batches import AudioBatches, Crop, split_files
from .loop import Batches, Progress, train
from .masking import MaskSettings, draw_masks
from .settings import LoopSettings

__all__ = [
    "AudioBatches",
    "AudioSet",
    "Batches",
    "Crop",
    "LoopSettings",
    "MaskSettings",
    "Progress",
    "draw_masks",
    "open_audio",
    "split_files",
    "train",
]
