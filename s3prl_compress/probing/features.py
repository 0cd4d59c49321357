"""The one-pass engine's features on disk: computed once per encoder and corpus, then mapped.

At base size an utterance takes 40 kB (13 layers of 768 float32 numbers), Speech Commands 2.7 GB.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, from_numpy

from ..common.errors import InputError
from ..common.files import file_atomically, locked, reserve, sha256, write_atomically
from ..results.records import Padding
from ..tasks.base.corpus import Corpus
from ..tasks.base.engine import Job
from .pooling import Clip, pool_clips

if TYPE_CHECKING:
    from ..encoder import SpeechEncoder
    from ..encoder.adapter import UpstreamAdapter

FEATURES_VERSION = 4
"""Part of the key: raised whenever the same key would give other features."""


@dataclass(frozen=True)
class Features:
    """Means over frames of every hidden state."""

    values: Tensor
    """[clips, layers + 1, width], float32, mapped from the file: rows are read on use."""
    reused: bool
    """True: they were already on disk."""


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
    the same features, one computes them and the other waits.
    """
    from ..encoder import fingerprint

    listed = "".join(f"{corpus.relative(c.path)}\0{c.start}\0{c.samples}\n" for c in clips)
    identity = {
        "version": FEATURES_VERSION,
        "encoder": fingerprint(encoder),
        "padding": padding,
        "corpus": corpus.fingerprint(),
        "clips": hashlib.sha256(listed.encode()).hexdigest(),
        "shape": [len(clips), encoder.shape.states, encoder.shape.hidden],
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    path = cache / f"{key}.npy"
    with locked(path.with_suffix(".lock"), f"computing the same features ({path})"):
        values = _open(path, identity)
        if values is not None:
            return Features(values, reused=True)
        _write(path, identity, encoder, corpus, clips, padding, device, seconds_per_batch)
        values = _open(path, identity)
        if values is None:
            raise InputError(f"{path}: cannot be read back; is the disk full or the file in use?")
        return Features(values, reused=False)


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


def _write(
    path: Path,
    identity: dict[str, Any],
    encoder: SpeechEncoder | UpstreamAdapter,
    corpus: Corpus,
    clips: Sequence[Clip],
    padding: Padding,
    device: str,
    seconds_per_batch: float,
) -> None:
    """Write the features to `path` atomically; the index is written last."""
    path.with_suffix(".json").unlink(missing_ok=True)
    with file_atomically(path) as temporary:
        shape = tuple(identity["shape"])
        values = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        reserve(temporary)

        def write(rows: list[int], means: np.ndarray) -> None:
            values[rows] = means

        pool_clips(
            encoder,
            clips,
            write,
            read=corpus.read,
            padding=padding,
            device=device,
            seconds_per_batch=seconds_per_batch,
        )
        values.flush()
        corpus.check_unchanged()
    index = json.dumps(_index(path, identity), indent=2)
    write_atomically(path.with_suffix(".json"), index + "\n")
