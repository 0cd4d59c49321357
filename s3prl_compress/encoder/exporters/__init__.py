"""Export targets: every module here that defines `TARGET` is one."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from ...common.errors import InputError
from .target import ERROR_LIMIT, ExportOptions, ExportTarget, Speech

__all__ = [
    "ERROR_LIMIT",
    "ExportOptions",
    "ExportTarget",
    "Speech",
    "export_targets",
    "find_export_target",
]


def export_targets() -> dict[str, ExportTarget]:
    """Return all export targets by name."""
    modules = [
        import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    ]
    targets = [module.TARGET for module in modules if hasattr(module, "TARGET")]
    return {target.name: target for target in targets}


def find_export_target(name: str) -> ExportTarget:
    """Return an export target by its name.

    Raises:
        InputError: there is no target of this name.
    """
    targets = export_targets()
    if name not in targets:
        raise InputError(f"no export format {name!r}; `s3prl-compress ls formats` lists them")
    return targets[name]
