"""Which rows are compared with which: dense upstreams, compressed ones and peers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from .rows import Entry, Row

FINE_TUNING = {"ctc"}
"""Names of the methods that fit a model to a task and compress nothing."""

EntryT = TypeVar("EntryT", bound=Entry)


def with_roles(rows: Sequence[EntryT]) -> list[EntryT]:
    """Return a block's rows with `reference` and `peer` filled in.

    A row that no method has touched is the reference (dense) of the compressed rows of its base.
    Without compressed rows of its base it is a peer: a third-party model in the same table. Where
    no head is trained, so that a model must have been fine-tuned for the task, that fine-tuning
    alone compresses nothing.
    """
    bases = {row.base for row in rows if not _is_dense(row)}
    return [
        replace(
            row,
            reference=(reference := _is_dense(row) and row.base in bases),
            peer=not row.methods and not reference,
        )
        for row in rows
    ]


def role_of(row: Entry) -> str:
    """Return in words what was done to an upstream: its methods, "dense", or a peer's base."""
    return row.methods or ("dense" if row.reference else row.base)


def reference_of(row: EntryT, rows: Sequence[EntryT]) -> EntryT | None:
    """Return the block's dense upstream of the same base, if there is one.

    Of several (fine-tuned ones) it is the one that the row was made from, if that is among them.
    """
    if row.reference:
        return row
    candidates = [other for other in rows if other.reference and other.base == row.base]

    def distance(other: EntryT) -> tuple[bool, int, str]:
        ancestor = row.methods.startswith(other.methods)
        return not ancestor, -len(other.methods), other.upstream

    return min(candidates, key=distance) if candidates else None


def method_names(methods: str) -> list[str]:
    """Return the names in a chain of methods, without their settings."""
    return re.findall(r"(?:^| \+ )([A-Za-z_][\w-]*)(?=\(|$| \+ )", methods)


def _is_dense(row: Entry) -> bool:
    names = set(method_names(row.methods))
    return not names or (isinstance(row, Row) and not row.trained and names <= FINE_TUNING)
