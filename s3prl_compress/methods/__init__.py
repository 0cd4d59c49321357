"""How an encoder is made smaller: one file per published method, and the registry."""

from .registry import MethodConfig, MethodInfo, available, check_settings, compress, register
from .selection import HeadSelection, LayerSelection, Selection
from .surgery import select_units

__all__ = [
    "HeadSelection",
    "LayerSelection",
    "MethodConfig",
    "MethodInfo",
    "Selection",
    "available",
    "check_settings",
    "compress",
    "register",
    "select_units",
]
