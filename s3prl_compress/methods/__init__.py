"""How an encoder is made smaller: one file per published method, and the registry."""

from ..common.method_config import MethodConfig
from ..surgery.cutting import select_units
from ..surgery.selection import HeadSelection, LayerSelection, Selection
from .registry import MethodInfo, available, check_settings, compress, register

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
