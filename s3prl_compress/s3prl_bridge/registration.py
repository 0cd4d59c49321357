"""Our upstreams in s3prl's hub.

s3prl has no plug-in point, but every way to an upstream reads `s3prl.hub`'s attributes:
`s3prl.hub.compressed(...)`, `S3PRLUpstream("compressed", path_or_url=...)`,
`S3PRLUpstream.available_names()`, and `Runner` with `-u compressed -k FOLDER`; or with
`hubert_demo` and no checkpoint.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..encoder.bundled import BUNDLED
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


def _entry(name: str) -> Callable[..., Any]:
    """Return the function called `name` of the hubconf of the upstream's folder."""
    module = importlib.import_module(f"s3prl_compress.upstreams.{name}.hubconf")
    entry: Callable[..., Any] = getattr(module, name)
    return entry
