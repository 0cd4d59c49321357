"""The frames of all hidden states on disk, for recognition: made once, then mapped.

About 1 MB per second of audio at base size (13 layers of 768 float16 numbers, 50 times a second),
so LibriSpeech's train-clean-100, dev-clean and test-clean take some 400 GB: what is needed is
worked out from the lengths and compared with the free space before anything is computed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from ...encoder.frames import superb_frame_counts, superb_frames
from ...errors import InputError
from ...files import write_atomically
from ...reporting.records import Padding
from ..corpora.audio import SAMPLING_RATE
from ..corpora.base import SPLITS, Item, Split
from ..corpora.transcripts import TranscribedCorpus
from .pooling import batches_by_length, ready

if TYPE_CHECKING:
    from ...encoder import EncoderShape, SpeechEncoder

FRAMES_VERSION = 1
"""Part of the key: raised whenever the same key would give other frames."""
_SECONDS_BETWEEN_MARKS = 30.0
"""What a kill can cost while frames are made."""


@dataclass(frozen=True)
class FramePlan:
    """Which utterances the frames are of, row by row: train, dev, test."""

    items: list[Item]
    rows: dict[Split, range]
    samples: list[int]
    counts: list[int]
    """Frames of each utterance."""

    @cached_property
    def starts(self) -> list[int]:
        """Frames of all utterances before each one."""
        return [0, *accumulate(self.counts)][:-1]


@dataclass(frozen=True)
class Frames:
    """Every hidden state's frames of many utterances, mapped from one file."""

    values: np.ndarray
    """All numbers in a row, float16: utterance after utterance, [layers + 1, frames, width]."""
    plan: FramePlan
    layers: int
    """Hidden states per utterance, L + 1 of the encoder."""
    width: int
    reused: bool
    """True: they were on disk already."""

    def read(self, row: int) -> Tensor:
        """Return one utterance's frames: [layers + 1, frames, width], float16."""
        size = self.layers * self.width
        start, count = self.plan.starts[row] * size, self.plan.counts[row]
        part = np.array(self.values[start : start + count * size])
        return torch.from_numpy(part.reshape(self.layers, count, self.width))


def plan_frames(corpus: TranscribedCorpus, shape: EncoderShape, padding: Padding) -> FramePlan:
    """List the utterances of a corpus and the frames that s3prl takes of each.

    `round(samples / 320)` of them; with fairseq's padding, where each utterance goes alone, not
    more than the convolutions make. Only headers are read.
    """
    items: list[Item] = []
    samples: list[int] = []
    rows = {}
    for split in SPLITS:
        rows[split] = range(len(items), len(items) + len(corpus.items(split)))
        items += corpus.items(split)
        samples += corpus.lengths(split)
    minimum = shape.minimum_samples
    short = [item for item, length in zip(items, samples, strict=True) if length < minimum]
    if short:
        raise InputError(
            f"{short[0].path}: shorter than the {minimum} samples that this encoder needs; "
            f"{len(short)} utterances are too short: remove them"
        )
    counts = superb_frame_counts(samples)
    if padding != "independent":
        counts = [
            min(count, shape.frames(length)) for count, length in zip(counts, samples, strict=True)
        ]
    return FramePlan(items, rows, samples, counts)


def bytes_of_frames(plan: FramePlan, shape: EncoderShape) -> int:
    """Return the space that the frames of a plan take on disk."""
    return sum(plan.counts) * (len(shape.layers) + 1) * shape.hidden * 2


def load_frames(
    encoder: SpeechEncoder,
    corpus: TranscribedCorpus,
    *,
    padding: Padding,
    cache: Path,
    device: str = "cpu",
    seconds_per_batch: float = 16.0,
) -> Frames:
    """Return the frames of a corpus, from `cache` where they are there already.

    The key is what decides the values, as for `load_features`. Two files per key, `<key>.frames`
    and `<key>.json`; the index is written last, so frames without one are not whole. Making them
    goes on where it was killed; of two processes that want the same ones, one makes them.

    Raises:
        InputError: too little space, or hidden states that are of no use.
    """
    from ...encoder import fingerprint

    plan = plan_frames(corpus, encoder.shape, padding)
    layers, width = len(encoder.shape.layers) + 1, encoder.shape.hidden
    identity = {
        "version": FRAMES_VERSION,
        "encoder": fingerprint(encoder),
        "padding": padding,
        "corpus": corpus.fingerprint(),
        "shape": [layers, sum(plan.counts), width],
        "dtype": "float16",
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    path = cache / f"{key}.frames"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        values = _open(path, identity)
        reused = values is not None
        if values is None:
            _check_space(path, bytes_of_frames(plan, encoder.shape), len(plan.items))
            writer = _Writer(path, identity | {"seconds_per_batch": seconds_per_batch}, plan)
            _encode(encoder, corpus, plan, writer, padding, device, seconds_per_batch)
            writer.finish(identity)
            values = _open(path, identity)
    if values is None:
        raise InputError(f"{path}: cannot be read back; is the file in use?")
    return Frames(values, plan, layers, width, reused)


def layer_frames(encoder: SpeechEncoder, waveforms: Sequence[Tensor]) -> list[Tensor]:
    """Return each utterance's hidden states, [layers + 1, frames, width] in float16.

    The frames are those that s3prl's Featurizer takes; see `plan_frames`.
    """
    lengths = [len(waveform) for waveform in waveforms]
    states, frame_counts = encoder(list(waveforms))
    if encoder.padding == "independent":
        states = tuple(superb_frames(states, frame_counts, lengths))
    elif len(waveforms) > 1:
        raise ValueError("fairseq's padding makes features depend on the batch: encode one by one")
    stacked = torch.stack([state.half() for state in states], dim=1)
    return [
        frames[:, :count].cpu()
        for frames, count in zip(stacked, superb_frame_counts(lengths), strict=True)
    ]


class _Writer:
    """Puts utterances into a file beside `path`, any order, and remembers how far it came."""

    def __init__(self, path: Path, identity: dict[str, Any], plan: FramePlan) -> None:
        self._path, self._plan = path, plan
        self._partial, self._mark = path.with_suffix(".partial"), path.with_suffix(".progress")
        self._identity = identity
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        self.done = self._read_mark()
        """Utterances that were put there before, in the order of writing."""
        self._file = open(self._partial, "r+b" if self.done else "w+b")  # noqa: SIM115
        self._marked_at = time.monotonic()
        layers, _, width = identity["shape"]
        self._frame_bytes = layers * width * 2

    def put(self, row: int, frames: Tensor) -> None:
        """Write one utterance, [layers + 1, frames, width]."""
        try:
            self._file.seek(self._plan.starts[row] * self._frame_bytes)
            self._file.write(frames.contiguous().numpy().tobytes())
        except OSError as error:
            raise InputError(
                f"{self._path}: {error.strerror}; make room there and start again: it goes on "
                "where it stopped"
            ) from error
        self.done += 1

    def mark(self) -> None:
        """Note, once in a while, that everything so far is on disk."""
        if time.monotonic() - self._marked_at < _SECONDS_BETWEEN_MARKS:
            return
        self._sync()
        write_atomically(self._mark, json.dumps({**self._identity, "done": self.done}))
        self._marked_at = time.monotonic()

    def discard(self) -> None:
        """Remove what is of no use."""
        self._file.close()
        self._mark.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def finish(self, identity: dict[str, Any]) -> None:
        """Put the whole file in its place; the index comes last."""
        self._sync()
        self._file.close()
        os.replace(self._partial, self._path)
        self._mark.unlink(missing_ok=True)
        write_atomically(self._path.with_suffix(".json"), json.dumps(identity, indent=2) + "\n")

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read_mark(self) -> int:
        try:
            mark = json.loads(self._mark.read_text("utf-8"))
        except (OSError, ValueError):
            return 0
        same = {**mark, "done": 0} == {**self._identity, "done": 0} and self._partial.is_file()
        return int(mark["done"]) if same else 0


def _encode(
    encoder: SpeechEncoder,
    corpus: TranscribedCorpus,
    plan: FramePlan,
    writer: _Writer,
    padding: Padding,
    device: str,
    seconds_per_batch: float,
) -> None:
    """Send every utterance through the upstream that `writer` does not have yet."""
    limit = int(seconds_per_batch * SAMPLING_RATE) if padding == "independent" else 0
    bar = tqdm(
        total=len(plan.items), desc="upstream", unit="utterance", initial=writer.done, leave=False
    )
    seen, skipped = 0, writer.done
    with ready(encoder, padding, device), bar, torch.no_grad():
        for rows in batches_by_length(plan.samples, limit):
            seen += len(rows)
            if seen <= skipped:
                continue
            waves = [corpus.read(plan.items[row].path).to(device) for row in rows]
            for row, frames in zip(rows, layer_frames(encoder, waves), strict=True):
                if not frames.isfinite().all():
                    writer.discard()
                    raise InputError(
                        f"{plan.items[row].path}: the encoder's hidden states of it are not "
                        "finite or beyond float16; score this encoder with the engine s3prl"
                    )
                writer.put(row, frames)
            bar.update(len(rows))
            writer.mark()


def _open(path: Path, identity: dict[str, Any]) -> np.ndarray | None:
    """Map the frames of `identity`, or return None where they are not there or not whole."""
    size = int(np.prod(identity["shape"]))
    try:
        if json.loads(path.with_suffix(".json").read_text("utf-8")) != identity:
            return None
        if path.stat().st_size != 2 * size:
            return None
        return np.memmap(path, dtype=np.float16, mode="r", shape=(size,))
    except (OSError, ValueError):
        return None


def _check_space(path: Path, needed: int, utterances: int) -> None:
    partial = path.with_suffix(".partial")
    there = partial.stat().st_blocks * 512 if partial.is_file() else 0
    free = shutil.disk_usage(path.parent).free
    if needed - there > free:
        raise InputError(
            f"{path.parent}: the frames of {utterances} utterances need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free; give another folder for features, remove files of "
            "finished upstreams there (*.frames), or use the engine s3prl, which stores nothing"
        )
