"""Deprecated: names that moved to `training.stages` and `distillation`, kept for one release."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

_MOVED = {
    "distill": "s3prl_compress.distillation.stage:distill",
    "recover": "s3prl_compress.distillation.stage:final_distillation",
    "run_stage": "s3prl_compress.training.stages:run_stage",
    "resolved_precision": "s3prl_compress.training.stages:resolved_precision",
    "on_device": "s3prl_compress.training.stages:on_device",
    "identity_of": "s3prl_compress.training.stages:identity_of",
}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _MOVED[name].partition(":")
    message = f"{__name__}.{name} is deprecated: import {attribute} from {module}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(module), attribute)
