"""Our upstreams in s3prl's hub.

s3prl has no plug-in point, but every way to an upstream reads `s3prl.hub`'s attributes:
`s3prl.hub.compressed(...)`, `S3PRLUpstream("compressed", path_or_url=...)`,
`S3PRLUpstream.available_names()`, and `Runner` with `-u compressed -k FOLDER`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .mends import mend

SHIPPED: dict[str, str] = {}
"""Named upstreams that need no `-k`: hub entry -> checkpoint. No weights are shipped yet."""


def upstream_names() -> tuple[str, ...]:
    """Return the names that `register` adds, without importing s3prl."""
    return ("compressed", *SHIPPED)


def register() -> None:
    """Add our upstreams to `s3prl.hub`. Imports s3prl (seconds); calling it again is harmless.

    A name of s3prl's own is never replaced.
    """
    mend()
    hub = importlib.import_module("s3prl.hub")
    compressed = _compressed()
    entries = {"compressed": compressed}
    entries |= {name: _named(name, source, compressed) for name, source in SHIPPED.items()}
    for name, entry in entries.items():
        found = getattr(hub, name, None)
        if found is not None and not getattr(found, "__module__", "").startswith("s3prl_compress."):
            raise RuntimeError(f"s3prl has an upstream called {name} of its own; not replaced")
        setattr(hub, name, entry)


def register_alone() -> None:
    """Put a hub that holds `compressed` only where `s3prl.hub` would be.

    For a process of its own: s3prl's hub imports every upstream that s3prl has, which takes most
    of the time that a short run needs.
    """
    if "s3prl.hub" in sys.modules:
        raise RuntimeError("register_alone comes before the first import of s3prl.hub")
    mend()
    hub = ModuleType("s3prl.hub", "s3prl's hub, with the upstream of this run only.")
    sys.modules["s3prl.hub"] = hub
    hub.__dict__["compressed"] = _compressed()


def _compressed() -> Callable[..., Any]:
    module: Any = importlib.import_module("s3prl_compress.upstreams.compressed.hubconf")
    return module.compressed


def _named(name: str, source: str, compressed: Callable[..., Any]) -> Callable[..., Any]:
    def entry(ckpt: Any = None, *args: Any, **kwargs: Any) -> Any:
        return compressed(ckpt or source, *args, **kwargs)

    entry.__name__ = name
    return entry
