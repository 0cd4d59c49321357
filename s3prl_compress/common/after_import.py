"""Calling a function once another package's module has been imported, by whoever it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType


def after_import(functions: Mapping[str, Callable[[], None]]) -> None:
    """Call each function after the module of its name is imported; at once, if it has been.

    Nothing is imported here. Modules must be Python source files.
    """
    later = {name: function for name, function in functions.items() if name not in sys.modules}
    if later:
        sys.meta_path.insert(0, _Finder(later))
    for name in functions.keys() - later.keys():
        functions[name]()


class _Finder(MetaPathFinder):
    """Finds its modules where Python does, with a loader that calls their functions."""

    def __init__(self, functions: Mapping[str, Callable[[], None]]) -> None:
        self._functions = functions

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._functions:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and isinstance(found.loader, SourceFileLoader):
            loader = found.loader
            found.loader = _Loader(fullname, loader.path, self._functions[fullname])
        return found


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, function: Callable[[], None]) -> None:
        super().__init__(fullname, path)
        self._function = function

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self._function()
