"""Make torchaudio importable when its compiled extension does not fit the installed torch.

torchaudio 2.11 is the last on PyPI and is built against one torch and CUDA: beside torch 2.13 CPU
its extension misses `libc10_cuda.so`, beside torch 2.15 it refuses another CUDA version, and
`import torchaudio` fails as a whole. With it fails `from transformers import HubertModel`, which
imports torchaudio on its way. s3prl and transformers use only torchaudio's parts in Python.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_log = logging.getLogger(__name__)

_EXTENSION = "torchaudio._extension"


def ensure_torchaudio_on_import() -> None:
    """Make the first `import torchaudio` of this process work, whoever it comes from.

    Imports neither torchaudio nor torch. The stand-in takes the place of an extension that cannot
    load, and of nothing else: who imports a torchaudio that fails for another reason sees
    torchaudio's own error.
    """
    if not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ExtensionFinder())


def ensure_torchaudio() -> bool:
    """Import torchaudio if it can be; return whether a stand-in for its extension was needed."""
    ensure_torchaudio_on_import()
    try:
        importlib.import_module("torchaudio")
    except Exception as error:
        _log.debug("torchaudio cannot be imported: %s", error)
        _forget()
        return False
    return isinstance(sys.modules.get(_EXTENSION), _Extension)


class _ExtensionFinder(MetaPathFinder):
    """Finds `torchaudio._extension` where Python does, with a loader that does not fail."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _EXTENSION:
            return None
        specification = PathFinder.find_spec(fullname, path, target)
        if specification is not None and isinstance(specification.loader, SourceFileLoader):
            specification.loader = _ExtensionLoader(fullname, specification.loader.path)
        return specification


class _ExtensionLoader(SourceFileLoader):
    """Loads `torchaudio._extension`, or the stand-in if that fails."""

    def exec_module(self, module: ModuleType) -> None:
        try:
            super().exec_module(module)
        except Exception as error:
            _log.debug("torchaudio's extension cannot load (%s); a stand-in takes its place", error)
            # Python's import takes what it finds there afterwards.
            sys.modules[_EXTENSION] = _Extension(Path(self.path).parent)


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
