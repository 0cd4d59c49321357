"""Our upstreams in s3prl's hub.

s3prl has no plug-in point, but every way to an upstream reads `s3prl.hub`'s attributes:
`s3prl.hub.compressed(...)`, `S3PRLUpstream("compressed", path_or_url=...)`,
`S3PRLUpstream.available_names()`, and `Runner` with `-u compressed -k FOLDER`; or with
`hubert_demo` and no checkpoint. A checkpoint folder or a hub id can also take the place of the
name: `S3PRLUpstream("out/fold10")`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from ..encoder.bundled import BUNDLED
from ..encoder.checkpoint import is_checkpoint
from ..encoder.importers.hub import is_hub_id
from .compat import apply_patches


def upstream_names() -> tuple[str, ...]:
    """Return the names that `register` adds, without importing s3prl.

    `compressed` takes a checkpoint (`-k`), the others bring their own.
    """
    return ("compressed", *BUNDLED)


def register() -> None:
    """Add our upstreams to `s3prl.hub`. Imports s3prl (seconds); calling it again is harmless.

    A name of s3prl's own is never replaced.
    """
    apply_patches()
    hub = importlib.import_module("s3prl.hub")
    for name in upstream_names():
        found = getattr(hub, name, None)
        if found is not None and not getattr(found, "__module__", "").startswith("s3prl_compress."):
            raise RuntimeError(f"s3prl has an upstream called {name} of its own; not replaced")
        setattr(hub, name, _entry(name))
    _list_without_checkpoint(hub)
    hub.__dict__["__getattr__"] = _source_as_entry


def _list_without_checkpoint(hub: ModuleType) -> None:
    """Omit `compressed` from s3prl's list of upstreams that bring their own checkpoint.

    s3prl tells the others by their endings (`_local`, `_url`, `_custom`).
    """
    original = hub.options
    if original.__module__ == __name__:
        return

    def options(only_registered_ckpt: bool = False) -> list[str]:
        names: list[str] = original(only_registered_ckpt)
        return [name for name in names if not (only_registered_ckpt and name == "compressed")]

    hub.__dict__["options"] = options


def register_alone() -> None:
    """Replace `s3prl.hub` by a hub that holds only `compressed`.

    For a separate process: s3prl's hub imports every upstream that s3prl has, which takes most
    of the time that a short run needs.
    """
    if "s3prl.hub" in sys.modules:
        raise RuntimeError("register_alone comes before the first import of s3prl.hub")
    apply_patches()
    hub = ModuleType("s3prl.hub", "s3prl's hub, with the upstream of this run only.")
    sys.modules["s3prl.hub"] = hub
    hub.__dict__["compressed"] = _entry("compressed")


def _source_as_entry(name: str) -> Callable[..., Any]:
    """Return the entry of an upstream whose name is a checkpoint folder or a hub id.

    Python asks here for what `s3prl.hub` does not have.
    """
    if not is_source(name):
        raise AttributeError(
            f"s3prl has no upstream called {name!r}, and it is no checkpoint folder"
        )
    return partial(_entry("compressed"), name)


def is_source(name: str) -> bool:
    """Say whether an upstream's name is a checkpoint folder or a hub id."""
    return is_checkpoint(name) or is_hub_id(name)


def _entry(name: str) -> Callable[..., Any]:
    """Return the function called `name` of the hubconf of the upstream's folder."""
    module = importlib.import_module(f"s3prl_compress.upstreams.{name}.hubconf")
    entry: Callable[..., Any] = getattr(module, name)
    return entry
