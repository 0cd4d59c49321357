"""Removing Transformer layers, by their position or by what they do to speech."""

from .influence import block_influence
from .method import LayersConfig, layers

__all__ = ["LayersConfig", "block_influence", "layers"]
