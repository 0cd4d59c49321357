"""Audio for the learned methods."""

from ..training.conftest import tones

__all__ = ["tones"]
