"""Optional dependencies, by the extra of this package that installs them.

Code that needs an extra imports its packages inside functions, or in modules that only the feature
itself imports, and calls `require_extra` before it starts to work.
"""

from __future__ import annotations

import importlib.util
from typing import Literal

from .errors import InputError

Extra = Literal[
    "train", "report", "cluster", "whisper", "lm", "onnx", "openvino", "ctranslate2", "maeb"
]

MODULES: dict[Extra, tuple[str, ...]] = {
    "train": ("accelerate", "matplotlib", "tensorboardX"),
    "report": ("jinja2", "matplotlib"),
    "cluster": ("submitit",),
    "whisper": ("whisper_normalizer",),
    "lm": ("flashlight", "kenlm"),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("onnx", "onnxscript", "openvino", "nncf"),
    "ctranslate2": ("ctranslate2",),
    "maeb": ("mteb",),
}
"""Modules that each extra provides; setup.cfg has the same list."""


def require_extra(extra: Extra, feature: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        extra: name of the extra.
        feature: what needs it, as the subject of the error message.

    Raises:
        InputError: a package is missing; the message names it and the command that installs it.
    """
    missing = [name for name in MODULES[extra] if not _is_installed(name)]
    if missing:
        raise InputError(
            f"{feature} needs {', '.join(missing)}; "
            f"install with: pip install 's3prl_compress[{extra}]'"
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False
