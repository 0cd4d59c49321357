"""`time_upstreams`: the speed of an encoder, alone or compared with another one."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from ..common.errors import InputError
from ..common.precision import full_precision
from ..common.validation import check_threads, pick_device
from ..encoder.adapter import UpstreamAdapter
from ..encoder.exported import ExportedEncoder
from ..encoder.inference import inference_copy
from ..results.environment import environment
from ..results.records import TimeRecord, write_record
from .assemble import make_record
from .loop import Forward, interleaved, one_pass
from .memory import peak_memory
from .plan import BUCKET_NAMES, Bucket, batched, length_buckets

if TYPE_CHECKING:
    from ..encoder import SpeechEncoder

DType = Literal["float32", "bfloat16"]

FEWEST_REPEATS = 3


def time_upstreams(
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    against: str | Path | SpeechEncoder | UpstreamAdapter | None = None,
    *,
    name: str | None = None,
    against_name: str | None = None,
    repeats: int = 10,
    warmup: int = 2,
    threads: int | None = None,
    dtype: DType = "float32",
    device: str | None = None,
    batch_size: int = 1,
    utterances_per_bucket: int | None = None,
    lengths: Sequence[int] | None = None,
    normalize: bool | None = None,
) -> TimeRecord:
    """Time the forward pass, from waveforms to all hidden states, of one encoder or of two.

    The audio is noise with the leaderboard's 32 lengths, in four buckets of eight and one
    utterance at a time (latency); "all" is the sum of the four within each round. With `against`,
    the two encoders alternate on every bucket, and the speed-up is the median of the paired ratios.

    Args:
        source: Folder, file or hub id (anything that `load` accepts), an exported model, or a
            loaded encoder.
        against: The encoder to compare with, normally the dense upstream.
        name: Name in tables; by default the last part of `source`.
        against_name: Name of `against` in tables.
        repeats: Number of rounds that count, at least 3. The median over rounds is reported.
        warmup: Number of rounds before them that do not count.
        threads: CPU threads of torch during timing; by default torch's current setting.
        dtype: float32 (without TensorFloat-32) or bfloat16, which converts weights and waveforms
            instead of using autocast.
        device: Device by torch's name; by default cuda if it is available, and else cpu.
        batch_size: If above 1, a fifth bucket "batched" measures throughput over all utterances,
            in padded batches of this size and of similar lengths.
        utterances_per_bucket: Use only this many of the eight utterances of each bucket, for a
            quick look.
        lengths: Other lengths, in samples at 16 kHz; their number must be a multiple of four.
        normalize: Whether waveforms are normalised; by default as the checkpoints say. It applies
            only to encoders that are loaded here.

    Raises:
        InputError: `source` cannot be loaded, a number is out of range, or an exported model is to
            be timed on a GPU or in another dtype than its own.
    """
    from ..encoder import describe, load_unless_loaded

    check_numbers(repeats, warmup, threads, dtype, batch_size)
    device = pick_device(device)
    given = {"this": source} if against is None else {"this": source, "against": against}
    names = {"this": name, "against": against_name}
    with torch_threads(threads), full_precision():
        loaded = {
            side: load_unless_loaded(what, device=device, normalize=normalize)
            for side, what in given.items()
        }
        _check_exported(loaded.values(), dtype, device)
        upstreams = {
            side: describe(encoder, names[side] or _name(given[side]), _source(given[side]))
            for side, encoder in loaded.items()
        }
        sides = {side: _ready(encoder, dtype, device) for side, encoder in loaded.items()}
        buckets = length_buckets(
            _leaderboard_lengths() if lengths is None else lengths,
            utterances_per_bucket=utterances_per_bucket,
            dtype=getattr(torch, dtype),
            device=device,
        )
        if batch_size > 1:
            buckets = (*buckets, batched(buckets, batch_size))
        memory, counted = _peaks(sides, buckets, device)
        times = interleaved(sides, buckets, repeats=repeats, warmup=warmup, device=device)
        where = environment(device)
    settings = {
        "repeats": repeats,
        "warmup": warmup,
        "lengths": [len(w) for b in buckets[: len(BUCKET_NAMES)] for (w,) in b.batches],
        "batch_size": batch_size,
        "numbers": dtype if dtype == "float32" else "weights and waveforms in bfloat16",
        "timed": "forward, waveforms to all hidden states, under torch.inference_mode",
        "peak_memory": f"{counted}, of one pass over the longest bucket, weights not counted",
    }
    return make_record(
        upstreams["this"],
        upstreams.get("against"),
        buckets,
        times,
        dtype=dtype,
        memory=memory,
        settings=settings,
        environment=where,
    )


def write_time_record(record: TimeRecord, folder: Path) -> Path:
    """Write the record to a new file in `folder`, and return its path.

    Nothing is overwritten: repeating the same comparison creates a second file.
    """
    parts = ["time", record.upstream.name]
    if record.against is not None:
        parts += ["against", record.against.name]
    parts += [record.dtype, record.environment.device, f"{record.environment.threads}threads"]
    stem = re.sub(r"[^\w.-]+", "_", "-".join(parts))
    taken = stem
    number = 1
    while (folder / f"{taken}.json").exists():
        number += 1
        taken = f"{stem}-{number}"
    return write_record(record, folder, taken)


def _peaks(
    sides: dict[str, Forward], buckets: Sequence[Bucket], device: str
) -> tuple[dict[str, int], str]:
    """Return the peak memory of one separate pass of each side, and how it was measured."""
    longest = [bucket for bucket in buckets if bucket.name in (BUCKET_NAMES[-1], "batched")]
    shortest = buckets[0].batches[0]
    memory, counted = {}, ""
    with torch.inference_mode():
        for side, forward in sides.items():
            forward(
                list(shortest)
            )  # so that weights are mapped and libraries initialised before the measurement

            def run(forward: Forward = forward) -> None:
                for bucket in longest:
                    one_pass(forward, bucket, device)

            memory[side], counted = peak_memory(run, device)
    return memory, counted


def check_numbers(
    repeats: int, warmup: int, threads: int | None, dtype: str, batch_size: int
) -> None:
    """Raise an `InputError` for a number that no measurement can have."""
    if repeats < FEWEST_REPEATS:
        raise InputError(f"repeats {repeats}: at least {FEWEST_REPEATS} are needed for an interval")
    if warmup < 0:
        raise InputError(f"warmup {warmup}: must not be negative")
    check_threads(threads)
    if dtype not in ("float32", "bfloat16"):
        raise InputError(f"dtype {dtype}: must be float32 or bfloat16")
    if batch_size < 1:
        raise InputError(f"batch size {batch_size}: must be at least 1")


def _check_exported(
    upstreams: Iterable[SpeechEncoder | UpstreamAdapter], dtype: str, device: str
) -> None:
    for upstream in upstreams:
        if not isinstance(upstream, ExportedEncoder):
            continue
        if device != "cpu":
            raise InputError(f"{upstream.path}: runs on the CPU; give --device cpu")
        if dtype != "float32":
            raise InputError(
                f"{upstream.path}: computes in {upstream.config.dtype} whatever dtype says; leave "
                "dtype out"
            )


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch use this many CPU threads within the block; None: as many as before."""
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)


def _ready(encoder: SpeechEncoder | UpstreamAdapter, dtype: DType, device: str) -> Forward:
    """Return the encoder in eval mode with this dtype and device, as a copy if it has to change.

    It is prepared for inference as it is for scoring, so that neither the rebuilding of sparse
    weights nor slow products are timed.
    """
    wanted = (torch.device(device), getattr(torch, dtype))
    parameter = next(encoder.parameters())
    if (parameter.device, parameter.dtype) != wanted or encoder.training:
        encoder = copy.deepcopy(encoder).to(device=device, dtype=wanted[1]).eval()
    return inference_copy(encoder, device)


def _name(source: str | Path | SpeechEncoder | UpstreamAdapter) -> str:
    if isinstance(source, (str, Path)):
        return Path(source).name or str(source)
    if isinstance(source, UpstreamAdapter):
        return source.name
    return source.shape.family


def _source(source: str | Path | SpeechEncoder | UpstreamAdapter) -> str:
    return str(source) if isinstance(source, (str, Path)) else "in memory"


def _leaderboard_lengths() -> Sequence[int]:
    from ..encoder import LEADERBOARD_SAMPLES

    return LEADERBOARD_SAMPLES
