"""What the learned methods share: batches of audio, targets, masks, losses, the loop."""

from .audio import AudioBatches, AudioSet, Crop, open_audio
from .loop import Batches, LoopSettings, Progress, train
from .masking import MaskSettings, draw_masks

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
    "train",
]
