"""Deprecated: names that moved to `training.stages` and `distillation`, kept for one release."""

from __future__ import annotations

from .forwarding import forwarding

_MOVED = {
    "Stage": "s3prl_compress.training.stages:Stage",
    "LearnedConfig": "s3prl_compress.training.stages:LearnedConfig",
    "ImitatingConfig": "s3prl_compress.distillation.config:DistillationConfig",
    "RecoveringConfig": "s3prl_compress.distillation.config:FinalDistillationConfig",
}


__getattr__ = forwarding(__name__, _MOVED)
