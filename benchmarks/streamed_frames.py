"""Time an update of recognisers whose frames the upstream computes in every step.

    python benchmarks/streamed_frames.py --threads 1 --output out/streamed_frames.json

One batch of noise goes through an upstream of random weights, and one or all of the official
learning rates' heads train on its frames, as with `frames: streamed`. Compared are all heads on one
forward pass with as many runs of their own, in float32 and in bfloat16, in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import write_result
from tqdm import tqdm

from s3prl_compress.audio.clips import SAMPLING_RATE
from s3prl_compress.common.precision import full_precision
from s3prl_compress.encoder import named_shape, random_encoder
from s3prl_compress.encoder.inference import dense_copy, inference_copy
from s3prl_compress.evaluation import load_settings
from s3prl_compress.latency.ratios import median
from s3prl_compress.probing.frames import layer_frames
from s3prl_compress.probing.recogniser import FrameHead, LinearRecogniser, Recogniser
from s3prl_compress.probing.recogniser_training import update
from s3prl_compress.tasks.pr.phonemes import PHONEMES, phoneme_symbols

SYMBOLS_PER_SECOND = 12
"""About that of LibriSpeech's characters and phonemes."""


def heads_of(task: str, layers: int, width: int, count: int) -> list[FrameHead]:
    """Return as many of a task's official heads."""
    settings, _ = load_settings(task, "official", "onepass")
    if settings.recognition is not None:
        return [Recogniser(layers, width, settings.recognition) for _ in range(count)]
    symbols = phoneme_symbols(PHONEMES)
    return [LinearRecogniser(layers, width, settings.projector_dim, symbols) for _ in range(count)]


def timed(step: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Return the wall time of a step, and what it returns."""
    started = time.perf_counter()
    found = step(*arguments, **options)
    return time.perf_counter() - started, found


def measure(task: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Time forward passes and updates; return the medians for each number format."""
    device = torch.device(given.device)
    encoder = random_encoder(named_shape(given.encoder)).eval().to(device)
    shape = encoder.shape
    waves = [
        0.1 * torch.randn(round(given.seconds * SAMPLING_RATE), device=device)
        for _ in range(given.batch_size)
    ]
    heads = [head.to(device) for head in heads_of(task, shape.states, shape.hidden, given.heads)]
    optimizers = [torch.optim.Adam(head.parameters(), lr=1e-4) for head in heads]
    count = round(SYMBOLS_PER_SECOND * given.seconds)
    symbols = len(heads[0].symbols.names)
    targets = [torch.randint(2, symbols, (count,)) for _ in waves]
    frozen = {"float32": inference_copy(encoder, device), "bfloat16": dense_copy(encoder)}
    times: dict[str, list[float]] = {"head": [], **{name: [] for name in frozen}}
    for repeat in tqdm(range(given.repeats + 1), task):
        for name, model in frozen.items():
            with torch.no_grad(), full_precision():
                taken, frames = timed(layer_frames, model, waves, half=name == "bfloat16")
            times[name].append(taken)
        for head, optimizer in zip(heads, optimizers, strict=True):
            taken, _ = timed(update, head, optimizer, [(frames, targets)], 1.0)
            if repeat:  # the first time builds the optimizers' state
                times["head"].append(taken)
    of_head = median(times["head"])
    rows = []
    for name in frozen:
        forward_pass = median(times[name][1:])
        one, together = forward_pass + of_head, forward_pass + given.heads * of_head
        rows.append(
            {
                "task": task,
                "dtype": name,
                "forward_seconds": forward_pass,
                "head_seconds": of_head,
                "one_head_seconds": one,
                "all_heads_seconds": together,
                "gain": given.heads * one / together,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", default="hubert_base", help="name of a shape")
    parser.add_argument("--heads", type=int, default=7, help="learning rates times seeds")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=12.0, help="of an utterance")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path("out/streamed_frames.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = [row for task in ("asr", "pr") for row in measure(task, given)]
    print(
        f"{given.encoder}, {given.batch_size} utterances of {given.seconds:g} s, {given.device}, "
        f"{given.threads} threads; seconds of an update\n"
        f"{'task':6}{'upstream':10}{'forward':>9}{'a head':>9}{'1 head':>9}"
        f"{f'{given.heads} heads':>9}{'gain':>9}"
    )
    for row in rows:
        print(
            f"{row['task']:6}{row['dtype']:10}{row['forward_seconds']:9.3f}"
            f"{row['head_seconds']:9.3f}{row['one_head_seconds']:9.3f}"
            f"{row['all_heads_seconds']:9.3f}{row['gain']:8.2f}x"
        )
    write_result(given.output, {"rows": rows, "arguments": vars(given) | {"output": None}})


if __name__ == "__main__":
    main()
