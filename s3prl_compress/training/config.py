"""Deprecated: names that moved to `training.stages` and `distillation`, kept for one release."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

_MOVED = {
    "Stage": "s3prl_compress.training.stages:Stage",
    "LearnedConfig": "s3prl_compress.training.stages:LearnedConfig",
    "ImitatingConfig": "s3prl_compress.distillation.config:DistillationConfig",
    "RecoveringConfig": "s3prl_compress.distillation.config:FinalDistillationConfig",
}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _MOVED[name].partition(":")
    message = f"{__name__}.{name} is deprecated: import {attribute} from {module}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(module), attribute)
