"""Train a student to match its teacher's hidden states.

The names below, and the modules that they come from, are the public face, with all that a method
that distils needs: settings, the loss that they name, and the two training functions. Further
public modules:

- `codes`, `grouping` and `relations`: the other losses
- `module`: student, teacher, loss and penalty as one trainable module
"""

from .config import DistillationConfig, FinalDistillationConfig
from .gated import GatedConfig, gate_param_groups
from .layers import DistillationLoss
from .losses import build_distillation_loss
from .stage import distill, final_distillation

__all__ = [
    "DistillationConfig",
    "DistillationLoss",
    "FinalDistillationConfig",
    "GatedConfig",
    "build_distillation_loss",
    "distill",
    "final_distillation",
    "gate_param_groups",
]
