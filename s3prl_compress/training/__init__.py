"""Training with exact resumption, shared by the learned methods and by pre-training.

The names below, and the modules that they come from, are the public face: settings, stages and the
loop, batches of audio, masks, and penalties. Further public modules:

- `ctc` and `finetuning`: fine-tuning on transcribed speech
- `regularisation`: masked input and dropout for fine-tuning
- `processes`: rank and device of this process
- `sparsity`: the Lagrangian that drives gates to a target
- `state`: the saved state of a run

`config` and `learned` contain deprecated names only.
"""

from ..audio import AudioSet, open_audio
from .batches import AudioBatches, Crop, split_files
from .loop import Batches, Progress, train
from .masking import MaskSettings, draw_masks
from .penalty import Penalty, SparsityPenalty
from .settings import LoopSettings, ParamGroup
from .stages import LearnedConfig, Stage, run_stage

__all__ = [
    "AudioBatches",
    "AudioSet",
    "Batches",
    "Crop",
    "LearnedConfig",
    "LoopSettings",
    "MaskSettings",
    "ParamGroup",
    "Penalty",
    "Progress",
    "SparsityPenalty",
    "Stage",
    "draw_masks",
    "open_audio",
    "run_stage",
    "split_files",
    "train",
]
