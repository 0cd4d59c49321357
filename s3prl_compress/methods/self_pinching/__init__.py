"""Pruning below jointly learned thresholds."""

from .method import SelfPinchingConfig, self_pinching

__all__ = ["SelfPinchingConfig", "self_pinching"]
