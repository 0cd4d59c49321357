"""Speed of Whisper models: the encoder, and the whole model at a forced number of tokens."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..common.errors import InputError
from ..common.precision import full_precision
from ..common.validation import pick_device
from ..encoder import SAMPLING_RATE
from ..latency.assemble import make_record
from ..latency.loop import Forward, interleaved, one_pass
from ..latency.measure import DType, check_numbers, torch_threads
from ..latency.memory import peak_memory
from ..latency.plan import Bucket
from ..results.environment import environment
from ..results.records import TimeRecord
from .cost import describe, window_samples
from .loading import load
from .model import Whisper
from .recognition import decoder_prompt, without_warnings
from .tokenizer import feature_extractor

NEW_TOKENS = 64
"""Tokens that are forced by default, about as many as half a minute of speech takes."""
BATCH_SIZE = 16


def time_whisper(
    source: str | Path | Whisper,
    against: str | Path | Whisper | None = None,
    *,
    name: str | None = None,
    against_name: str | None = None,
    repeats: int = 10,
    warmup: int = 2,
    threads: int | None = None,
    dtype: DType = "float32",
    device: str | None = None,
    batch_size: int = BATCH_SIZE,
    new_tokens: int = NEW_TOKENS,
) -> TimeRecord:
    """Time a Whisper model, or two of them in turns, on windows of 30 s of noise.

    Measured are the encoder by itself (buckets "encoder" and "encoder, batched") and greedy
    `generate` with a cache (buckets "all" and "batched"), each at batch 1 and at `batch_size`, from
    log-mel features. All models write the same number of tokens: the speed of a damaged one would
    otherwise be that of the length of its texts.

    Args:
        source: what `load` takes, or a model.
        against: the model to compare with, normally the dense one.
        name: name in tables; by default the last part of `source`.
        against_name: name of `against` in tables.
        repeats: number of rounds that count, at least 3. The median over rounds is reported.
        warmup: number of rounds before them that do not count.
        threads: CPU threads of torch during timing; by default torch's current setting.
        dtype: float32 (without TensorFloat-32) or bfloat16, which converts weights and features.
        device: by torch's name; by default cuda if it is available, and else cpu.
        batch_size: of the larger batch; 1 leaves it out.
        new_tokens: number of tokens that `generate` writes for every window.

    Raises:
        InputError: a model cannot be loaded, or a number is out of range.
    """
    check_numbers(repeats, warmup, threads, dtype, batch_size)
    device = pick_device(device)
    given = {"this": source} if against is None else {"this": source, "against": against}
    names = {"this": name, "against": against_name}
    with torch_threads(threads), full_precision(), without_warnings():
        loaded = {
            side: what if isinstance(what, Whisper) else load(what) for side, what in given.items()
        }
        upstreams = {
            side: describe(model, names[side] or _name(given[side]), _source(given[side]))
            for side, model in loaded.items()
        }
        windows = {window_samples(model.shape) for model in loaded.values()}
        if len(windows) > 1:
            raise InputError("the two models take windows of different lengths")
        (window,) = windows
        noise = 0.1 * torch.randn(batch_size, window, generator=torch.Generator().manual_seed(0))
        sides = {
            side: _Timed(model, noise, new_tokens, dtype, device, upstreams[side].name)
            for side, model in loaded.items()
        }
        one, several = tuple(noise[:1]), tuple(noise)
        encoded, whole = [Bucket("encoder", (one,))], [Bucket("all", (one,))]
        if batch_size > 1:
            encoded.append(Bucket("encoder, batched", (several,)))
            whole.append(Bucket("batched", (several,)))
        memory, counted = _peaks({side: own.generate for side, own in sides.items()}, whole, device)
        rounds: dict[str, Any] = {"repeats": repeats, "warmup": warmup, "device": device}
        times = interleaved({s: own.encode for s, own in sides.items()}, encoded, **rounds)
        times |= interleaved({s: own.generate for s, own in sides.items()}, whole, **rounds)
        where = environment(device)
    settings = {
        "repeats": repeats,
        "warmup": warmup,
        "lengths": [window] * batch_size,
        "batch_size": batch_size,
        "numbers": dtype if dtype == "float32" else "weights and features in bfloat16",
        "timed": (
            f"Whisper, full windows of {window / SAMPLING_RATE:g} s from log-mel features: greedy "
            f"generate with {new_tokens} forced tokens, and the encoder by itself"
        ),
        "new_tokens": new_tokens,
        "peak_memory": f"{counted}, of one pass of generate over the largest batch, weights not "
        "counted",
    }
    return make_record(
        upstreams["this"],
        upstreams.get("against"),
        [*encoded, *whole],
        times,
        dtype=dtype,
        memory=memory,
        settings=settings,
        environment=where,
    )


class _Timed:
    """A copy of a model that only writes a fixed number of tokens, and the features of its input.

    The waveforms of a batch only say how many windows it holds.
    """

    def __init__(
        self, whisper: Whisper, noise: Tensor, new_tokens: int, dtype: DType, device: str, name: str
    ) -> None:
        self._prompt = decoder_prompt(whisper, None, name)
        room = whisper.shape.text_positions - len(self._prompt) - 2
        if not 1 <= new_tokens <= room:
            raise InputError(
                f"{name}: new tokens {new_tokens}: must be 1 to {room}, the positions of its "
                "decoder after the prompt"
            )
        numbers = getattr(torch, dtype)
        self._new_tokens = new_tokens
        self._model = cast(Any, copy.deepcopy(whisper.model))
        self._model.to(device=device, dtype=numbers).eval()
        extract: Any = feature_extractor(whisper, name)
        features = extract(
            list(noise.numpy()),
            sampling_rate=SAMPLING_RATE,
            max_length=noise.shape[1],
            return_tensors="pt",
        )["input_features"]
        self._features = features.to(device, numbers)
        generation = self._model.generation_config
        generation.max_length = None
        # Of two time stamps in a row, transformers makes a segment, and decodes another window.
        mark = getattr(generation, "no_timestamps_token_id", None)
        stamps = [] if mark is None else list(range(mark + 1, whisper.shape.vocabulary))
        generation.suppress_tokens = stamps or None
        generation.begin_suppress_tokens = None

    def encode(self, waveforms: list[Tensor]) -> Any:
        """Run the encoder on as many windows as there are waveforms."""
        return self._model.model.encoder(self._features[: len(waveforms)])

    def generate(self, waveforms: list[Tensor]) -> Any:
        """Write the tokens of as many windows as there are waveforms."""
        return self._model.generate(
            self._features[: len(waveforms)],
            **self._prompt,
            min_new_tokens=self._new_tokens,
            max_new_tokens=self._new_tokens,
            return_timestamps=False,
            do_sample=False,
            num_beams=1,
        )


def _peaks(
    sides: dict[str, Forward], buckets: list[Bucket], device: str
) -> tuple[dict[str, int], str]:
    """Return the peak memory of one pass of each side over the largest batch, and its method."""
    memory, counted = {}, ""
    with torch.inference_mode():
        for side, forward in sides.items():
            one_pass(forward, buckets[0], device)  # initialises libraries beforehand

            def run(forward: Forward = forward) -> None:
                one_pass(forward, buckets[-1], device)

            memory[side], counted = peak_memory(run, device)
    return memory, counted


def _name(source: str | Path | Whisper) -> str:
    return "whisper" if isinstance(source, Whisper) else Path(source).name or str(source)


def _source(source: str | Path | Whisper) -> str:
    return "in memory" if isinstance(source, Whisper) else str(source)
