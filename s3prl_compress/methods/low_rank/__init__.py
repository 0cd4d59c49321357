"""Low-rank factors by truncated SVD, without training."""

from .method import LowRankConfig, low_rank

__all__ = ["LowRankConfig", "low_rank"]
