"""Our upstreams in s3prl's hub.

s3prl has no plug-in point, but every way to an upstream reads `s3prl.hub`'s attributes:
`s3prl.hub.compressed(...)`, `S3PRLUpstream("compressed", path_or_url=...)`,
`S3PRLUpstream.available_names()`, and `Runner` with `-u compressed -k FOLDER`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
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
    compressed = importlib.import_module("s3prl_compress.upstreams.compressed.hubconf").compressed
    entries = {"compressed": compressed}
    entries |= {name: _named(name, source, compressed) for name, source in SHIPPED.items()}
    for name, entry in entries.items():
        found = getattr(hub, name, None)
        if found is not None and not getattr(found, "__module__", "").startswith("s3prl_compress."):
            raise RuntimeError(f"s3prl has an upstream called {name} of its own; not replaced")
        setattr(hub, name, entry)


def _named(name: str, source: str, compressed: Callable[..., Any]) -> Callable[..., Any]:
    def entry(ckpt: Any = None, *args: Any, **kwargs: Any) -> Any:
        return compressed(ckpt or source, *args, **kwargs)

    entry.__name__ = name
    return entry
