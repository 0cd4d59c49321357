"""How an encoder is made smaller: one file per published method, and the registry."""

from ..surgery.cutting import select_units
from ..surgery.selection import HeadSelection, LayerSelection, Selection
from .registry import MethodConfig, MethodInfo, available, check_settings, compress, register

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
