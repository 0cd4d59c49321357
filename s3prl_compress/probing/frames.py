"""The frames of all hidden states, for recognition: on disk, or computed again in every step.

On disk they are computed once, then memory-mapped. They take about 1 MB per second of audio at base
size (13 layers of 768 float16 numbers, 50 times a second), so LibriSpeech's train-clean-100,
dev-clean and test-clean take some 400 GB: the space needed is derived from the lengths and compared
with the free space before anything is computed. Where it is short, frames are streamed instead.
"""

from __future__ import annotations

import hashlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

from ..common.errors import InputError
from ..common.files import locked
from ..encoder.frames import superb_frame_counts, superb_frames
from ..encoder.inference import dense_copy, inference_copy
from ..results.records import Padding
from ..tasks.base.corpus import SPLITS, Item, Split
from ..tasks.base.task import FrameSource
from ..tasks.base.transcripts import TranscribedCorpus
from .frame_file import FrameFile, FrameWriter, check_space, open_frames
from .pooling import batch_limit, batches_by_length, ready
from .shards import Shard, Sharding

if TYPE_CHECKING:
    from ..encoder import EncoderShape, SpeechEncoder
    from ..encoder.exported import ExportedEncoder
    from ..encoder.packed import Linears
    from ..tasks.base.engine import Job

FRAMES_VERSION = 3
"""Part of the key: raised whenever the same key would give other frames."""


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

    def part(self, rows: Sequence[int]) -> FramePlan:
        """Return the plan of some utterances only, as rows in the given order."""
        items = [self.items[row] for row in rows]
        samples = [self.samples[row] for row in rows]
        counts = [self.counts[row] for row in rows]
        return FramePlan(items, {}, samples, counts)


@dataclass(frozen=True, kw_only=True)
class Frames(ABC):
    """Every hidden state's frames of many utterances."""

    plan: FramePlan
    layers: int
    """Hidden states per utterance, L + 1 of the encoder."""
    width: int
    first_state: int = 0
    """The first hidden state that is read."""
    streamed: ClassVar[bool] = False
    """Whether reading them means to compute them."""

    @property
    def states(self) -> int:
        """Number of hidden states that are read of each utterance."""
        return self.layers - self.first_state

    @abstractmethod
    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """Return the frames of utterances: [states, frames, width] each, float16."""

    def ready(self) -> AbstractContextManager[None]:
        """Return a context in which they can be read."""
        return nullcontext()


@dataclass(frozen=True, kw_only=True)
class StoredFrames(Frames):
    """Frames that are mapped from one file."""

    file: FrameFile
    compute: Callable[[], StreamedFrames]
    """Opens the same frames as computed by the encoder, to replace damaged ones."""
    reused: bool
    """True: they were already on disk."""

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """See `Frames.read`.

        Raises:
            InputError: damaged frames cannot be computed or written again.
        """
        return [self._read(row) for row in rows]

    def _read(self, row: int) -> Tensor:
        stored = self.file.read(row)
        if stored is None:
            return self._computed_again(row)[self.first_state :]
        return torch.from_numpy(stored[self.first_state :].copy())

    def _computed_again(self, row: int) -> Tensor:
        print(_damaged(self.plan.items[row]), file=sys.stderr)
        source = self.compute()
        with source.ready():
            (frames,) = source.read([row])
        self.file.replace(row, frames)
        return frames


@dataclass(frozen=True, kw_only=True)
class StreamedFrames(Frames):
    """Frames that the frozen encoder computes whenever they are read, within `ready`."""

    encoder: SpeechEncoder | ExportedEncoder
    corpus: TranscribedCorpus
    padding: Padding
    device: str
    samples_per_batch: int
    """Samples of audio, padding included, in one forward pass."""
    half: bool = False
    """Compute in bfloat16."""
    streamed: ClassVar[bool] = True
    _lock: Lock = field(default_factory=Lock, repr=False)
    """Not every runtime can compute for two threads: the next batch is read during evaluations."""

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """See `Frames.read`.

        Raises:
            InputError: a recording cannot be read, or its hidden states are of no use.
        """
        found: dict[int, Tensor] = {}
        samples = [self.encoder.shape.samples_computed(self.plan.samples[row]) for row in rows]
        with self._lock, torch.no_grad():
            for batch in batches_by_length(samples, self.samples_per_batch):
                own = [rows[place] for place in batch]
                frames = _encoded(
                    self.encoder, self.corpus, self.plan, own, self.device, half=self.half
                )
                found |= zip(batch, frames, strict=True)
        return [found[place][self.first_state :] for place in range(len(rows))]

    def ready(self) -> AbstractContextManager[None]:
        """See `Frames.ready`."""
        return ready(self.encoder, self.padding, self.device)


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
    return sum(plan.counts) * shape.states * shape.hidden * 2


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
            _encode(extraction, plan, sharding.missing(writer.done), writer, sharding.linears)
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
        _encode(extraction, own, missing, writer, sharding.linears)
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


def layer_frames(
    encoder: SpeechEncoder | ExportedEncoder, waveforms: Sequence[Tensor], *, half: bool = False
) -> list[Tensor]:
    """Return each utterance's hidden states, [layers + 1, frames, width] in float16.

    The frames are those that s3prl's Featurizer takes; see `plan_frames`. `half`: the encoder
    computes in bfloat16, except for what torch's autocast keeps in float32.
    """
    lengths = [len(waveform) for waveform in waveforms]
    with torch.autocast(waveforms[0].device.type, torch.bfloat16, enabled=half):
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
                    print(_damaged(own.items[place]), file=sys.stderr)
                else:
                    writer.put(row, torch.from_numpy(frames.copy()))
            writer.mark(now=True)
        sharding.remove(shard)
    return bool(shards)


def _lock(path: Path) -> tuple[Path, str]:
    return path.with_suffix(".lock"), f"computing the same frames ({path})"


def _damaged(item: Item) -> str:
    return (
        f"the stored frames of {item.relative} are damaged (wrong checksum) and are computed again"
    )


def _encode(
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
                encoded = _encoded(encoder, extraction.corpus, plan, rows, device)
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


def _encoded(
    encoder: SpeechEncoder | ExportedEncoder,
    corpus: TranscribedCorpus,
    plan: FramePlan,
    rows: Sequence[int],
    device: str,
    *,
    half: bool = False,
) -> list[Tensor]:
    """Return `layer_frames` of the utterances in `rows`, which go through the upstream together.

    Raises:
        InputError: they are not finite.
    """
    waves = [corpus.read(plan.items[row].path).to(device) for row in rows]
    encoded = layer_frames(encoder, waves, half=half)
    for row, frames in zip(rows, encoded, strict=True):
        if not frames.isfinite().all():
            raise InputError(
                f"{plan.items[row].path}: the encoder's hidden states of it are not finite or "
                "beyond float16; score this encoder with the engine s3prl"
            )
    return encoded
