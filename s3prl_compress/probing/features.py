"""The one-pass engine's features on disk: computed once per encoder and corpus, then mapped.

At base size an utterance takes 40 kB (13 layers of 768 float32 numbers), Speech Commands 2.7 GB.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, from_numpy

from ..common.errors import InputError
from ..common.files import file_atomically, locked, reserve, sha256, write_atomically
from ..results.records import Padding
from ..tasks.base.corpus import Corpus
from ..tasks.base.engine import Job
from .pooling import Clip, check_lengths, pool_clips
from .shards import Shard, Sharding

if TYPE_CHECKING:
    from ..encoder import SpeechEncoder
    from ..encoder.adapter import UpstreamAdapter
    from ..encoder.packed import Linears

FEATURES_VERSION = 4
"""Part of the key: raised whenever the same key would give other features."""


@dataclass(frozen=True)
class Features:
    """Means over frames of every hidden state."""

    values: Tensor
    """[clips, layers + 1, width], float32, mapped from the file: rows are read on use."""
    reused: bool
    """True: they, or shards of them, were already on disk."""


def features_of(job: Job, clips: Sequence[Clip]) -> Features:
    """Return the features of clips of a job's corpus that its heads may use; see `load_features`.

    Features are kept of all hidden states, whichever the settings start from.
    """
    features = load_features(
        job.encoder,
        job.corpus,
        clips,
        padding=job.padding,
        cache=job.features_folder,
        device=job.device,
        seconds_per_batch=job.settings.seconds_per_batch,
    )
    return replace(features, values=features.values[:, job.settings.first_state :])


def load_features(
    encoder: SpeechEncoder | UpstreamAdapter,
    corpus: Corpus,
    clips: Sequence[Clip],
    *,
    padding: Padding,
    cache: Path,
    device: str = "cpu",
    seconds_per_batch: float = 16.0,
) -> Features:
    """Return the features of a corpus's clips, from `cache` where they are there already.

    The key is what decides the values: encoder (`fingerprint`: shape, flags and weights), padding,
    corpus fingerprint, the clips, version of this module. Device and batch size change them by
    rounding only and do not belong to it: with TensorFloat-32 off (see `precision`), a GPU computes
    in full float32 as a CPU does. Two files per key, `<key>.npy` and `<key>.json`; the index is
    written last, so features without one are incomplete and are computed again. So are features
    whose SHA-256 is not that in the index, after one line that says so. Of two processes that need
    the same features, one computes them and the other waits. Shards that `store_shard` has left
    are merged, and only the rest is computed.
    """
    extraction = _Extraction(encoder, corpus, clips, padding, device, seconds_per_batch)
    identity, sharding = extraction.identity, extraction.sharding(cache)
    path = sharding.whole
    with locked(*_lock(path)):
        values = _open(path, identity)
        if values is not None:
            return Features(values, reused=True)
        stored = list(_stored(extraction, sharding))
        missing = sharding.missing({row for rows, _ in stored for row in rows})
        _write(path, identity, extraction, missing, sharding.linears, stored)
        values = _open(path, identity)
        if values is None:
            raise InputError(f"{path}: cannot be read back; is the disk full or the file in use?")
        sharding.remove_all()
        return Features(values, reused=bool(stored))


def store_shard(job: Job, clips: Sequence[Clip], shard: Shard) -> bool:
    """Compute a shard of the features of a job, for `features_of` to merge.

    Returns False if there is nothing to do: the shard or the whole is there already, or there are
    fewer batches than shards.
    """
    extraction = _Extraction(
        job.encoder,
        job.corpus,
        clips,
        job.padding,
        job.device,
        job.settings.seconds_per_batch,
    )
    sharding = extraction.sharding(job.features_folder)
    part = sharding.part(shard)
    with locked(*_lock(sharding.whole)):
        if not part.rows or _open(sharding.whole, extraction.identity) is not None:
            return False
        sharding.agree()
    path, identity = sharding.path(shard), extraction.shard_identity(sharding, shard)
    with sharding.writing(shard):
        if _open(path, identity) is not None:
            return False
        own = replace(extraction, clips=[clips[row] for row in part.rows])
        _write(path, identity, own, part.batches, sharding.linears)
        if sharding.whole.with_suffix(".json").exists():  # completed without it
            sharding.remove(shard)
    return True


def identity_without_shape(
    encoder: str, corpus: Corpus, clips: Sequence[Clip], padding: Padding
) -> dict[str, Any]:
    """Return what the values of features depend on; `encoder` is a fingerprint."""
    listed = "".join(f"{corpus.relative(c.path)}\0{c.start}\0{c.samples}\n" for c in clips)
    return {
        "version": FEATURES_VERSION,
        "encoder": encoder,
        "padding": padding,
        "corpus": corpus.fingerprint(),
        "clips": hashlib.sha256(listed.encode()).hexdigest(),
    }


@dataclass(frozen=True)
class _Extraction:
    """Features to be computed; see `load_features`."""

    encoder: SpeechEncoder | UpstreamAdapter
    corpus: Corpus
    clips: Sequence[Clip]
    padding: Padding
    device: str
    seconds_per_batch: float

    @cached_property
    def identity(self) -> dict[str, Any]:
        from ..encoder import fingerprint

        encoder = fingerprint(self.encoder)
        values = identity_without_shape(encoder, self.corpus, self.clips, self.padding)
        return values | {"shape": self.shape(len(self.clips))}

    def shape(self, clips: int) -> list[int]:
        return [clips, self.encoder.shape.states, self.encoder.shape.hidden]

    def sharding(self, cache: Path) -> Sharding:
        """Return how the features are computed."""
        key = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:24]
        shape = self.encoder.shape
        return Sharding(
            cache / f"{key}.npy",
            self.identity,
            [shape.samples_computed(clip.samples) for clip in self.clips],
            self.encoder,
            self.padding,
            self.device,
            self.seconds_per_batch,
        )

    def shard_identity(self, sharding: Sharding, shard: Shard) -> dict[str, Any]:
        return sharding.identity(shard, self.shape(len(sharding.part(shard).rows)))


def _write(
    path: Path,
    identity: dict[str, Any],
    extraction: _Extraction,
    batches: Sequence[list[int]],
    linears: Linears | None,
    stored: Sequence[tuple[list[int], Tensor]] = (),
) -> None:
    """Write the features to `path` atomically; the index is written last.

    Args:
        path: the file.
        identity: for its index.
        extraction: what to compute.
        batches: rows to compute, as they go through the encoder together.
        linears: see `inference_copy`.
        stored: other rows, and their features.
    """
    check_lengths(extraction.clips, extraction.encoder.shape.minimum_samples)
    path.with_suffix(".json").unlink(missing_ok=True)
    with file_atomically(path) as temporary:
        shape = tuple(identity["shape"])
        values = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        reserve(temporary)
        for rows, means in stored:
            values[rows] = means.numpy()

        def write(rows: list[int], means: np.ndarray) -> None:
            values[rows] = means

        pool_clips(
            extraction.encoder,
            extraction.clips,
            batches,
            write,
            read=extraction.corpus.read,
            padding=extraction.padding,
            device=extraction.device,
            linears=linears,
        )
        values.flush()
        extraction.corpus.check_unchanged()
    index = json.dumps(_index(path, identity), indent=2)
    write_atomically(path.with_suffix(".json"), index + "\n")


def _stored(extraction: _Extraction, sharding: Sharding) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the rows of each shard that is there, and their features."""
    for shard in sharding.stored():
        values = _open(sharding.path(shard), extraction.shard_identity(sharding, shard))
        if values is not None:
            yield sharding.part(shard).rows, values


def _lock(path: Path) -> tuple[Path, str]:
    return path.with_suffix(".lock"), f"computing the same features ({path})"


def _open(path: Path, identity: dict[str, Any]) -> Tensor | None:
    """Map the features of `identity`; return None if they are missing, incomplete or damaged."""
    index = path.with_suffix(".json")
    if not index.is_file():
        return None
    try:
        if json.loads(index.read_text("utf-8")) == _index(path, identity):
            # Copy on write: torch asks for writable memory; nothing is ever written to the file.
            return from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError):
        pass
    print(f"{path}: damaged (not what its index says); computed again", file=sys.stderr)
    return None


def _index(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    return {"identity": identity, "sha256": sha256(path)}
