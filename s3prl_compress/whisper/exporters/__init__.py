"""Export of whole Whisper models: every module here that defines `TARGET` is a format."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from .target import WhisperTarget

__all__ = ["WhisperTarget", "whisper_targets"]


def whisper_targets() -> dict[str, WhisperTarget]:
    """Return all formats of whole Whisper models by name."""
    modules = [
        import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    ]
    targets = [module.TARGET for module in modules if hasattr(module, "TARGET")]
    return {target.name: target for target in targets}
