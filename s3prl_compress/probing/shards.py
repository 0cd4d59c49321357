"""Shards: parts of stored features or frames, each computed by a job of its own, then merged.

A shard is a part of the sequence of batches in which one process would compute the whole, not of
its files: the batches decide the shapes of all matrix products, and so the rounding. Merged shards
therefore equal the whole bit for bit on equal hardware with equal numbers of threads.

A shard lies beside the whole, `<key>.shard-<number>-of-<count>-<conditions>`, in the same format
and with an index of its own, which is written last.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout

from ..common.files import locked, write_atomically
from ..encoder.inference import choose_linears
from ..encoder.packed import VARIABLE, Linears
from .pooling import batch_limit, batches_by_length

if TYPE_CHECKING:
    from torch import nn

    from ..results.records import Padding

_NAME = re.compile(r"shard-(\d+)-of-(\d+)-")


@dataclass(frozen=True)
class Shard:
    """One of several parts of nearly equal length in samples."""

    number: int
    """From 1."""
    count: int


@dataclass(frozen=True)
class ShardPart:
    """The rows of a shard."""

    rows: list[int]
    """In the whole."""
    batches: list[list[int]]
    """The same batches, as places in `rows`."""


class Sharding:
    """How a file of features or frames is computed, and its shards on disk.

    Args:
        path: the whole.
        identity: of the whole; what its values depend on, apart from rounding.
        samples: of each row, as the encoder computes them.
        encoder: the frozen upstream.
        padding: of shorter utterances in a batch.
        device: where the encoder computes.
        seconds_per_batch: of audio in one forward pass, padding included.
    """

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        samples: Sequence[int],
        encoder: nn.Module,
        padding: Padding,
        device: str,
        seconds_per_batch: float,
    ) -> None:
        self.whole, self._identity, self._samples = path, identity, samples
        self._encoder, self._device = encoder, device
        self._seconds_per_batch = seconds_per_batch
        self.batches = list(batches_by_length(samples, batch_limit(seconds_per_batch, padding)))
        """Rows that go through the encoder together, as in one piece."""

    @cached_property
    def linears(self) -> Linears | None:
        """The library that multiplies matrices; that of the first shard, if there are any.

        Each process measures which one is faster, and not always with the same result.
        """
        chosen = choose_linears(self._encoder, self._device)
        if chosen is None or os.environ.get(VARIABLE):
            return chosen
        try:
            first = self._choice.read_text("utf-8")
        except OSError:
            return chosen
        return "onednn" if first == "onednn" else "torch"

    def agree(self) -> None:
        """Make the choice of `linears` that of all shards; to be called under the whole's lock."""
        if self.linears is not None:
            write_atomically(self._choice, self.linears)

    @property
    def _choice(self) -> Path:
        return self.whole.with_suffix(".linears")

    def part(self, shard: Shard) -> ShardPart:
        """Return the rows of a shard; none, if there are fewer batches than shards."""
        loads = [(0, number) for number in range(1, shard.count + 1)]
        own: list[list[int]] = []
        for batch in self.batches:  # longest first: each goes to the shard with the least so far
            load, number = loads[0]
            size = len(batch) * self._samples[batch[0]]
            heapq.heapreplace(loads, (load + size, number))
            if number == shard.number:
                own.append(batch)
        places = count()
        return ShardPart(
            list(chain.from_iterable(own)), [[next(places) for _ in batch] for batch in own]
        )

    def identity(self, shard: Shard, shape: Sequence[int]) -> dict[str, Any]:
        """Return the identity of a shard whose file has the given shape."""
        return {
            "whole": self._identity,
            "shard": [shard.number, shard.count],
            "conditions": self._conditions,
            "shape": list(shape),
        }

    @property
    def _conditions(self) -> dict[str, Any]:
        """What rounding depends on, as far as it is known: other shards are not merged."""
        return {
            "seconds_per_batch": self._seconds_per_batch,
            "device": torch.device(self._device).type,
            "linears": self.linears,
        }

    def path(self, shard: Shard) -> Path:
        """Return the file of a shard."""
        text = json.dumps(self._conditions, sort_keys=True)
        conditions = hashlib.sha256(text.encode()).hexdigest()[:8]
        name = f"shard-{shard.number}-of-{shard.count}-{conditions}"
        return self.whole.with_name(f"{self.whole.stem}.{name}{self.whole.suffix}")

    def stored(self) -> list[Shard]:
        """Return the shards that are complete according to their names."""
        found = []
        for index in sorted(self.whole.parent.glob(f"{self.whole.stem}.shard-*.json")):
            if match := _NAME.search(index.name):
                shard = Shard(int(match[1]), int(match[2]))
                if index == self.path(shard).with_suffix(".json"):
                    found.append(shard)
        return found

    def missing(self, done: Collection[int]) -> list[list[int]]:
        """Return the batches that are not in `done` with all of their rows."""
        return [batch for batch in self.batches if not all(row in done for row in batch)]

    @contextmanager
    def writing(self, shard: Shard) -> Iterator[None]:
        """Hold a shard, so that no other process writes or removes it."""
        path = self.path(shard)
        with locked(path.with_suffix(".lock"), f"computing the same shard ({path})"):
            yield

    def remove(self, shard: Shard) -> None:
        """Remove the files of a shard."""
        for path in self.whole.parent.glob(f"{self.path(shard).stem}.*"):
            path.unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove all shards, now that the whole is complete, except those being written.

        Their writers remove them.
        """
        self._choice.unlink(missing_ok=True)
        stems = {path.stem for path in self.whole.parent.glob(f"{self.whole.stem}.shard-*")}
        for stem in stems:
            lock = FileLock(self.whole.with_name(f"{stem}.lock"))
            with suppress(Timeout), lock.acquire(timeout=0):
                for path in self.whole.parent.glob(f"{stem}.*"):
                    path.unlink(missing_ok=True)


def stored_identities(folder: Path) -> list[dict[str, Any]]:
    """Return the identities of all features, frames and shards that are complete in a folder."""
    identities = []
    for path in folder.glob("*.json"):
        try:
            identity = json.loads(path.read_text("utf-8"))["identity"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(identity, dict):
            identities.append(identity)
    return identities
