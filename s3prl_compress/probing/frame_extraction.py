"""Computes the frames of all hidden states and stores them, whole or in shards.

See `frames` for what is stored and how large it is.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from ..common.errors import InputError
from ..common.files import locked
from ..encoder.inference import dense_copy, inference_copy
from ..results.records import Padding
from ..tasks.base.task import FrameSource
from ..tasks.base.transcripts import TranscribedCorpus
from .frame_file import FrameWriter, check_space, open_frames
from .frames import (
    FramePlan,
    StoredFrames,
    StreamedFrames,
    bytes_of_frames,
    damaged,
    encode,
    plan_frames,
)
from .pooling import batch_limit, ready
from .shards import Shard, Sharding

if TYPE_CHECKING:
    from ..encoder import SpeechEncoder
    from ..encoder.exported import ExportedEncoder
    from ..encoder.packed import Linears
    from ..tasks.base.engine import Job

FRAMES_VERSION = 3
"""Part of the key: raised whenever the same key would give other frames."""


def load_frames(
    encoder: SpeechEncoder | ExportedEncoder,
    corpus: TranscribedCorpus,
    *,
    padding: Padding,
    cache: Path,
    device: str = "cpu",
    seconds_per_batch: float = 16.0,
    how: FrameSource = "stored",
    half: bool = False,
) -> StoredFrames | StreamedFrames:
    """Return the frames of a corpus, from `cache` where they are there already.

    The key is what decides the values, as for `load_features`. Two files per key, `<key>.frames`
    and `<key>.json`; the index is written last, so frames without one are incomplete. Utterances
    whose checksum is not that of the index are computed again when they are read. A killed process
    is resumed; of two that need the same frames, one computes them and the other waits.

    Args:
        encoder: the frozen upstream.
        corpus: the utterances.
        padding: of shorter utterances in a batch.
        cache: folder of stored frames.
        device: where the encoder computes.
        seconds_per_batch: of audio in one forward pass, padding included.
        how: "streamed": nothing is stored, and the encoder computes frames whenever they are read;
            "auto": that, if there is too little space for them.
        half: the encoder computes streamed frames in bfloat16; see `layer_frames`.

    Raises:
        InputError: too little space, hidden states that are of no use, or bfloat16 for an exported
            model.
    """
    from ..encoder import SpeechEncoder

    if half and not isinstance(encoder, SpeechEncoder):
        raise InputError(
            "streamed_dtype bfloat16: this upstream is an exported model, which computes in the "
            "number format of its file; leave out streamed_dtype"
        )
    extraction = _Extraction(encoder, corpus, padding, device, seconds_per_batch)
    plan, identity, sharding = extraction.plan, extraction.identity, extraction.sharding(cache)
    path = sharding.whole
    cache.mkdir(parents=True, exist_ok=True)

    def streamed() -> StreamedFrames:
        # Linears that are packed for float32 have no bfloat16.
        frozen: SpeechEncoder | ExportedEncoder
        if half and isinstance(encoder, SpeechEncoder):
            frozen = dense_copy(encoder)
        else:
            frozen = inference_copy(encoder, device)
        return StreamedFrames(
            plan=plan,
            layers=encoder.shape.states,
            width=encoder.shape.hidden,
            encoder=frozen,
            corpus=corpus,
            padding=padding,
            device=device,
            half=half,
            samples_per_batch=batch_limit(seconds_per_batch, padding),
        )

    if how == "streamed":
        return streamed()
    with locked(*_lock(path)):
        file = open_frames(path, identity, plan.starts)
        reused = file is not None
        if file is None:
            try:
                extraction.check_space(sharding, sharding.stored())
            except InputError as error:
                if how == "stored":
                    raise
                print(f"{error}. They are now computed in every step instead", file=sys.stderr)
                return streamed()
            sharding.agree()
            writer = FrameWriter(
                path, identity | {"seconds_per_batch": seconds_per_batch}, plan.starts
            )
            reused = _merge(extraction, sharding, writer)
            _compute(extraction, plan, sharding.missing(writer.done), writer, sharding.linears)
            writer.finish(identity)
            file = open_frames(path, identity, plan.starts)
            sharding.remove_all()
    if file is None:
        raise InputError(f"{path}: cannot be read back; is the file in use?")
    return StoredFrames(
        plan=plan,
        layers=encoder.shape.states,
        width=encoder.shape.hidden,
        file=file,
        compute=streamed,
        reused=reused,
    )


def store_shard(job: Job, shard: Shard) -> bool:
    """Compute a shard of the frames of a job, for `load_frames` to merge; a kill is resumed.

    Returns False if there is nothing to do: the shard or the whole is there already, there are
    fewer batches than shards, or frames are streamed.

    Raises:
        InputError: as `load_frames`.
    """
    from ..encoder import SpeechEncoder
    from ..encoder.exported import ExportedEncoder

    corpus, encoder, settings = job.corpus, job.encoder, job.settings
    assert isinstance(corpus, TranscribedCorpus)
    assert isinstance(encoder, SpeechEncoder | ExportedEncoder)
    if settings.frames == "streamed":
        return False
    extraction = _Extraction(encoder, corpus, job.padding, job.device, settings.seconds_per_batch)
    sharding = extraction.sharding(job.features_folder)
    part = sharding.part(shard)
    own = extraction.plan.part(part.rows)
    with locked(*_lock(sharding.whole)):
        stored = open_frames(sharding.whole, extraction.identity, extraction.plan.starts)
        if not part.rows or stored is not None:
            return False
        sharding.agree()
    path, identity = sharding.path(shard), sharding.identity(shard, extraction.shape(own))
    with sharding.writing(shard):
        if open_frames(path, identity, own.starts) is not None:
            return False
        try:
            extraction.check_space(sharding, [shard])
        except InputError as error:
            if settings.frames == "stored":
                raise
            print(f"{error}. They are computed in every step instead", file=sys.stderr)
            return False
        writer = FrameWriter(path, identity, own.starts)
        missing = [batch for batch in part.batches if not writer.done.issuperset(batch)]
        _compute(extraction, own, missing, writer, sharding.linears)
        writer.finish(identity)
        if sharding.whole.with_suffix(".json").exists():  # completed without it
            sharding.remove(shard)
    return True


def identity_without_shape(
    encoder: str, corpus: TranscribedCorpus, padding: Padding
) -> dict[str, Any]:
    """Return what the values of frames depend on; `encoder` is a fingerprint."""
    return {
        "version": FRAMES_VERSION,
        "encoder": encoder,
        "padding": padding,
        "corpus": corpus.fingerprint(),
        "dtype": "float16",
    }


@dataclass(frozen=True)
class _Extraction:
    """Frames to be computed; see `load_frames`."""

    encoder: SpeechEncoder | ExportedEncoder
    corpus: TranscribedCorpus
    padding: Padding
    device: str
    seconds_per_batch: float

    @cached_property
    def plan(self) -> FramePlan:
        return plan_frames(self.corpus, self.encoder.shape, self.padding)

    @cached_property
    def identity(self) -> dict[str, Any]:
        from ..encoder import fingerprint

        values = identity_without_shape(fingerprint(self.encoder), self.corpus, self.padding)
        return values | {"shape": self.shape(self.plan)}

    def shape(self, plan: FramePlan) -> list[int]:
        return [self.encoder.shape.states, sum(plan.counts), self.encoder.shape.hidden]

    def sharding(self, cache: Path) -> Sharding:
        """Return how the frames are computed."""
        key = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:24]
        return Sharding(
            cache / f"{key}.frames",
            self.identity,
            [self.encoder.shape.samples_computed(samples) for samples in self.plan.samples],
            self.encoder,
            self.padding,
            self.device,
            self.seconds_per_batch,
        )

    def check_space(self, sharding: Sharding, shards: Sequence[Shard]) -> None:
        """Raise `InputError` where there is too little space to merge all shards.

        Each is removed once it has been merged, so that this takes one more than the whole; the
        largest one of `shards`.
        """
        sizes = [
            bytes_of_frames(self.plan.part(sharding.part(shard).rows), self.encoder.shape)
            for shard in shards
        ]
        needed = bytes_of_frames(self.plan, self.encoder.shape) + max(sizes, default=0)
        check_space(sharding.whole, needed, len(self.plan.items))


def _merge(extraction: _Extraction, sharding: Sharding, writer: FrameWriter) -> bool:
    """Move the frames of all shards to the whole; return whether there were any."""
    shards = sharding.stored()
    for shard in shards:
        rows = sharding.part(shard).rows
        own = extraction.plan.part(rows)
        identity = sharding.identity(shard, extraction.shape(own))
        file = open_frames(sharding.path(shard), identity, own.starts)
        if file is not None:
            for place, row in enumerate(rows):
                frames = file.read(place)
                if frames is None:
                    print(damaged(own.items[place]), file=sys.stderr)
                else:
                    writer.put(row, torch.from_numpy(frames.copy()))
            writer.mark(now=True)
        sharding.remove(shard)
    return bool(shards)


def _lock(path: Path) -> tuple[Path, str]:
    return path.with_suffix(".lock"), f"computing the same frames ({path})"


def _compute(
    extraction: _Extraction,
    plan: FramePlan,
    batches: Sequence[list[int]],
    writer: FrameWriter,
    linears: Linears | None,
) -> None:
    """Send batches of a plan's utterances through the upstream."""
    total = sum(map(len, batches))
    bar = tqdm(total=total, desc="upstream", unit="utterance", leave=False)
    device = extraction.device
    encoder = inference_copy(extraction.encoder, device, linears)
    with ready(encoder, extraction.padding, device), bar, torch.no_grad():
        for rows in batches:
            try:
                encoded = encode(encoder, extraction.corpus, plan, rows, device)
            except InputError:
                writer.discard()
                raise
            for row, frames in zip(rows, encoded, strict=True):
                writer.put(row, frames)
            bar.update(len(rows))
            writer.mark()
    try:
        extraction.corpus.check_unchanged()
    except InputError:
        writer.discard()
        raise
