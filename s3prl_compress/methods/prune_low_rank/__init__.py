"""Gradual pruning followed by low-rank factors with learned ranks."""

from .method import PruneLowRankConfig, prune_low_rank

__all__ = ["PruneLowRankConfig", "prune_low_rank"]
