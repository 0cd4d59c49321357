"""Cut, rebuild and count an encoder.

The names below, and the modules that they come from, are the public face: choose units
(`Selection`), cut an encoder down to them (`select_units`), replace linears and tensors
(`rebuild`), and meet a parameter budget (`RemovalOrder`, `find_sparsity`). Further public modules:

- `channels`: groups of interchangeable channels, their magnitudes and pruning schedules
- `layered`: the interface of models with Transformer layers, such as encoders and Whisper
- `largest_weights`: the weights of largest magnitude over several matrices
- `masked`, `gates`, `gate_layout` and `binarize`: encoders with one learned gate per unit
- `parametrized`: encoders whose weights are computed in every forward pass
- `setting_types`: types of settings that several methods have
"""

from .budget import Counts, RemovalOrder, find_sparsity
from .cutting import parameters_after, select_units
from .rebuild import get_linear, rebuild
from .selection import HeadSelection, LayerSelection, Selection

__all__ = [
    "Counts",
    "HeadSelection",
    "LayerSelection",
    "RemovalOrder",
    "Selection",
    "find_sparsity",
    "get_linear",
    "parameters_after",
    "rebuild",
    "select_units",
]
