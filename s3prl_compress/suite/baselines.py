"""A suite's upstreams that are s3prl's own: tried out once, then known by a card."""

from __future__ import annotations

import json
from pathlib import Path

from ..common.files import write_atomically
from ..s3prl_bridge.upstream import S3PRLUpstreamAdapter, UpstreamInfo, foreign_fingerprint
from .recipe import UpstreamEntry


def make_peer(entry: UpstreamEntry, folder: Path) -> tuple[S3PRLUpstreamAdapter, bool]:
    """Return s3prl's upstream, and whether it was tried out before.

    `folder/<name>.json` keeps its sizes and its cost, so that it need not be built where only its
    identity is asked for.

    Raises:
        InputError: s3prl cannot build it.
    """
    assert entry.s3prl is not None
    card = folder / f"{entry.name}.json"
    identity = foreign_fingerprint(entry.s3prl, entry.checkpoint)
    facts = _kept(card, identity)
    peer = S3PRLUpstreamAdapter(entry.s3prl, entry.checkpoint, facts)
    if facts is None:
        text = {"sha256": identity, "facts": peer.facts.model_dump(mode="json")}
        write_atomically(card, json.dumps(text, indent=2) + "\n")
    return peer, facts is not None


def peer_facts(entry: UpstreamEntry, folder: Path) -> UpstreamInfo | None:
    """Return what is known of an upstream that was tried out; else None."""
    assert entry.s3prl is not None
    identity = foreign_fingerprint(entry.s3prl, entry.checkpoint)
    return _kept(folder / f"{entry.name}.json", identity)


def _kept(card: Path, identity: str) -> UpstreamInfo | None:
    try:
        written = json.loads(card.read_text(encoding="utf-8"))
        if written["sha256"] != identity:
            return None
        return UpstreamInfo.model_validate(written["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
