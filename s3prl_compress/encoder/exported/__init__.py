"""Exported encoders: the graph that is exported, its metadata, and exported files as upstreams.

`exporters.onnx` and `exporters.openvino` write the files.
"""

from __future__ import annotations

from .config import ExportedConfig, StateError
from .graph import EncoderGraph
from .model import ExportedEncoder, exported_runtime, load_exported, refuse_exported

__all__ = [
    "EncoderGraph",
    "ExportedConfig",
    "ExportedEncoder",
    "StateError",
    "exported_runtime",
    "load_exported",
    "refuse_exported",
]
