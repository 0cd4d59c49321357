"""Pre-train a HuBERT from scratch: iterations of clustering and masked prediction.

The names below, and the modules that they come from, are the public face; `targets` and
`objective` are public modules, too.
"""

from .iteration import IterationRun
from .loss_curve import draw_curves
from .recipe import Recipe, load_recipe

__all__ = ["IterationRun", "Recipe", "draw_curves", "load_recipe"]
