"""Make torchaudio importable when its compiled extension does not fit the installed torch.

torchaudio 2.11 is the last on PyPI and is built against one torch and CUDA: beside torch 2.13 CPU
its extension misses `libc10_cuda.so`, beside torch 2.15 it refuses another CUDA version, and
`import torchaudio` fails as a whole. With it fails `from transformers import HubertModel`, which
imports torchaudio on its way. s3prl and transformers use only torchaudio's parts in Python.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

_log = logging.getLogger(__name__)

_EXTENSION = "torchaudio._extension"


def ensure_torchaudio() -> bool:
    """Make `import torchaudio` work; return whether a stand-in for its extension was needed.

    The stand-in comes only after a plain import has failed. Where torchaudio is not installed, or
    fails even so, nothing is changed: who imports it sees torchaudio's own error.
    """
    if "torchaudio" in sys.modules:
        return isinstance(sys.modules.get(_EXTENSION), _Extension)
    specification = importlib.util.find_spec("torchaudio")
    if specification is None or specification.origin is None:
        return False
    try:
        importlib.import_module("torchaudio")
        return False
    except Exception as error:
        _log.debug("torchaudio's extension cannot load (%s); a stand-in takes its place", error)
    _forget()
    sys.modules[_EXTENSION] = _Extension(Path(specification.origin).parent / "_extension")
    try:
        importlib.import_module("torchaudio")
        return True
    except Exception as error:
        _log.debug("torchaudio fails without its extension, too: %s", error)
        _forget()
        return False


class _Extension(ModuleType):
    """`torchaudio._extension` as torchaudio itself has it where nothing was compiled."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_EXTENSION, "Stand-in: torchaudio without its compiled extension.")
        # A package, so that `torchaudio._extension.utils` can still be found.
        self.__path__ = [str(folder)]
        self._IS_TORCHAUDIO_EXT_AVAILABLE = False
        self._IS_ALIGN_AVAILABLE = False
        self.fail_if_no_align = _fails_when_called
        self._check_cuda_version = lambda: None

    def __getattr__(self, name: str) -> Any:
        # Versions before 2.9 ask for more of the same kind (rir, kaldi, sox).
        if name.startswith("_IS_") and name.endswith("_AVAILABLE"):
            return False
        if name.startswith("fail_if_no_"):
            return _fails_when_called
        raise AttributeError(f"module {_EXTENSION!r} has no attribute {name!r}")


def _fails_when_called(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function that needs the extension."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(
            f"{function.__name__} needs torchaudio's compiled extension, which does not fit the "
            "installed torch; install a matching pair of torch and torchaudio"
        )

    return fail


def _forget() -> None:
    """Remove the modules that a failed import left in `sys.modules`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]
