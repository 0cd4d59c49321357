"""Third-party baselines of a suite: built and measured once; size and cost are cached."""

from __future__ import annotations

import json
from pathlib import Path

from ..common.files import write_atomically
from ..s3prl_bridge.upstream import S3PRLUpstreamAdapter, UpstreamInfo, foreign_fingerprint
from .suite_file import UpstreamEntry


def load_baseline(entry: UpstreamEntry, folder: Path) -> tuple[S3PRLUpstreamAdapter, bool]:
    """Return an adapter for one of s3prl's own upstreams, and whether its size was cached.

    Size and cost are cached in `folder/<name>.json`, so that the model is not built where only its
    identity is needed.

    Raises:
        InputError: s3prl cannot build the upstream.
    """
    assert entry.s3prl is not None
    cache_file = folder / f"{entry.name}.json"
    identity = foreign_fingerprint(entry.s3prl, entry.checkpoint)
    cached = _read_cache(cache_file, identity)
    baseline = S3PRLUpstreamAdapter(entry.s3prl, entry.checkpoint, cached)
    if cached is None:
        content = {"sha256": identity, "facts": baseline.facts.model_dump(mode="json")}
        write_atomically(cache_file, json.dumps(content, indent=2) + "\n")
    return baseline, cached is not None


def baseline_info(entry: UpstreamEntry, folder: Path) -> UpstreamInfo | None:
    """Return the cached size and cost of a baseline; None if it has not been built yet."""
    assert entry.s3prl is not None
    identity = foreign_fingerprint(entry.s3prl, entry.checkpoint)
    return _read_cache(folder / f"{entry.name}.json", identity)


def _read_cache(cache_file: Path, identity: str) -> UpstreamInfo | None:
    try:
        content = json.loads(cache_file.read_text(encoding="utf-8"))
        if content["sha256"] != identity:  # another checkpoint, or another version of s3prl
            return None
        return UpstreamInfo.model_validate(content["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
