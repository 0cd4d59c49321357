"""Estimate how long heads train, by measuring a few updates at the real size.

Nothing depends on an upstream's weights, so the features are random numbers. An update takes a
fixed time (Adam) plus a time for each item of its batch. An item is one utterance (its mean over
frames) for the one-pass engine's heads of KS, SID and ER, and one frame otherwise. Both times are
fitted to updates on batches of two sizes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from ..evaluation import Settings
from ..probing.heads import ParallelHeads
from ..probing.recogniser import FrameHead, LinearRecogniser, Recogniser
from ..probing.recogniser_training import update
from ..tasks.base.facts import CorpusFacts
from ..tasks.base.symbols import Symbols
from ..tasks.base.task import RecognitionHead
from .sizes import FRAMES_PER_SECOND, UpstreamSize

_REPEATS = 2
"""Updates measured for each batch size, of which the fastest counts, after one warm-up update."""
_FORWARD = 1 / 3
"""Time of a forward pass relative to that of an update (forward and backward), for each item."""
_SECONDS_PER_TEXT = 1.5e-4
"""Reading the frames of an utterance and decoding its text, in evaluations. A rule of thumb, which
counts where heads are small and utterances short."""


@dataclass(frozen=True)
class UpdateTime:
    """Time of an update in seconds: `fixed`, plus `unit` for each item of the batch."""

    fixed: float
    unit: float


def head_seconds(
    settings: Settings,
    size: UpstreamSize,
    corpus: CorpusFacts,
    *,
    onepass: bool,
    device: str,
    ctc: bool = False,
    seeds: int = 1,
) -> float:
    """Return the seconds in which a cell trains and evaluates its heads, over all rates and folds.

    The upstream's forward passes are not included. If the one-pass engine trains the heads of
    `seeds` cells together, the result is the share of one cell. `ctc`: the head is trained by CTC,
    so both engines train it on frames, one learning rate at a time.
    """
    ctc = ctc or settings.recognition is not None
    frames = not onepass or ctc
    per_train, per_dev, per_test = (
        (
            FRAMES_PER_SECOND * corpus.train_seconds,
            FRAMES_PER_SECOND * corpus.dev_seconds,
            FRAMES_PER_SECOND * corpus.test_seconds,
        )
        if frames
        else (1.0, 1.0, 1.0)
    )
    batch = settings.batch_size * settings.accumulation
    if ctc:
        if settings.recognition is not None:  # s3prl halves ASR's buckets
            batch = max(1, settings.batch_size // 2) * settings.accumulation
        runs = len(settings.learning_rates)
        sizes = settings.recognition or (settings.projector_dim, corpus.classes)
        one = _recogniser(size.states, size.hidden, batch, sizes, device)
    elif onepass:
        runs = 1  # all learning rates are trained at the same time
        rates = len(settings.learning_rates)
        shape = (size.states, size.hidden, corpus.classes, settings.projector_dim)
        one = _parallel_heads(shape, rates, seeds, batch, device)
    else:
        runs = len(settings.learning_rates)
        shape = (size.states, size.hidden, corpus.classes, settings.projector_dim)
        one = _frame_head(shape, device)
    evaluations = settings.total_steps // settings.eval_step
    dev = corpus.dev + (corpus.background * settings.crops_per_file if onepass else 0)
    training = settings.total_steps * (one.fixed + one.unit * batch * per_train)
    each = _SECONDS_PER_TEXT if ctc else 0.0
    evaluating = evaluations * dev * (per_dev * one.unit * _FORWARD + each)
    testing = corpus.test * (per_test * one.unit * _FORWARD + each)
    return corpus.folds * (runs * (training + evaluating) + testing)


@cache
def _recogniser(
    states: int,
    hidden: int,
    batch: int,
    sizes: RecognitionHead | tuple[int, int],
    device: str,
) -> UpdateTime:
    """Measure s3prl's recognition heads, which both engines train.

    `sizes`: those of ASR's recogniser; or, for phoneme recognition, the width between the two
    linear layers and the number of classes.
    """
    head: FrameHead
    if isinstance(sizes, RecognitionHead):
        head = Recogniser(states, hidden, sizes)
    else:
        names = ("", *map(str, range(max(4, sizes[1]))))  # a blank and, at least, target 4
        symbols = Symbols(names, blank=0, encode=lambda _: [], decode=lambda _: "")
        head = LinearRecogniser(states, hidden, sizes[0], symbols)
    head.to(device)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-4)

    def step(frames: int) -> None:
        features = [torch.rand(states, frames, hidden).half() for _ in range(batch)]
        targets = [torch.tensor([4]) for _ in range(batch)]
        update(head, optimizer, [(features, targets)], 1.0)

    few, more = 2, 12  # frames of each utterance
    return _fit(lambda frames: step(frames // batch), few * batch, more * batch, device)


@cache
def _parallel_heads(
    shape: tuple[int, int, int, int], rates: int, seeds: int, batch: int, device: str
) -> UpdateTime:
    """Measure the one-pass engine's heads for all rates and seeds; return the share of one seed."""
    states, hidden, classes, projector_dim = shape
    learning_rates = [1e-4] * rates
    heads = ParallelHeads(
        states,
        hidden,
        classes,
        learning_rates,
        projector_dim=projector_dim,
        generators=[torch.Generator().manual_seed(seed) for seed in range(seeds)],
        device=device,
    )

    def step(rows: int) -> None:
        labels = torch.zeros(seeds, rows, dtype=torch.long, device=device)
        heads.update(torch.rand(seeds, rows, states, hidden, device=device), labels)

    together = _fit(step, batch, 4 * batch, device)
    return UpdateTime(together.fixed / seeds, together.unit / seeds)


@cache
def _frame_head(shape: tuple[int, int, int, int], device: str) -> UpdateTime:
    """Measure s3prl's head for KS, SID and ER, which weights and projects every frame."""
    states, hidden, classes, projector_dim = shape
    weights = nn.Parameter(torch.zeros(states, device=device))
    projector = nn.Linear(hidden, projector_dim, device=device)
    output = nn.Linear(projector_dim, classes, device=device)
    parameters = [weights, *projector.parameters(), *output.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-4)

    def step(frames: int) -> None:
        features: Tensor = torch.rand(states, frames * hidden, device=device)
        summed = (weights.softmax(0)[:, None] * features).sum(0).view(frames, hidden)
        output(projector(summed).mean(0)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return _fit(step, 50, 250, device)


def _fit(step: Callable[[int], None], few: int, more: int, device: str) -> UpdateTime:
    """Fit a line through the times of updates on `few` and on `more` items."""
    step(few)  # warm-up
    low, high = _seconds(step, few, device), _seconds(step, more, device)
    unit = max(high - low, 0.0) / (more - few)
    return UpdateTime(max(low - unit * few, 0.0), unit)


def _seconds(step: Callable[[int], None], units: int, device: str) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.perf_counter()
        step(units)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best
