"""Deprecated: names that moved to `training.stages` and `distillation`, kept for one release."""

from __future__ import annotations

from .forwarding import forwarding

_MOVED = {
    "distill": "s3prl_compress.distillation.stage:distill",
    "recover": "s3prl_compress.distillation.stage:final_distillation",
    "run_stage": "s3prl_compress.training.stages:run_stage",
    "resolved_precision": "s3prl_compress.training.stages:resolved_precision",
    "on_device": "s3prl_compress.training.stages:on_device",
    "identity_of": "s3prl_compress.training.stages:identity_of",
}


__getattr__ = forwarding(__name__, _MOVED)
