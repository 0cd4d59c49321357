"""Training the heads of several jobs at the same time, as s3prl's runner trains one.

Equal to the runner (`s3prl/downstream/runner.py`): a step is one update; the gradients of
`accumulation` batches are added up for it, each batch's mean divided by their number, so that an
utterance of a short batch counts for more; batches left over at the end of an epoch count for the
next update; dev is evaluated every `eval_step` steps, and only a strictly better head replaces the
best one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from ..tasks.base.engine import Job
from .heads import Heads, ParallelHeads

_ROWS_AT_ONCE = 1024
"""Utterances per forward pass in evaluations: 40 MB at base size."""
_WEIGHTED_SUMS_AT_ONCE = 32_768
"""Utterances times heads per forward pass in evaluations: 100 MB at base size."""

Batches = Iterator[tuple[Tensor, Tensor]]
"""Endless: rows of the features, [batch], and class numbers, [batch] or [batch, slots]."""


@dataclass(frozen=True)
class Best:
    """The best state of a head, by its dev score."""

    dev_score: float
    """In percent."""
    step: int
    state: dict[str, Tensor]
    """See `ParallelHeads.state`."""


def train_heads(
    jobs: Sequence[Job],
    values: Tensor,
    draw: Callable[[torch.Generator], Batches],
    dev_scores: Callable[[Heads], Tensor],
    *,
    label: str = "",
) -> list[list[Best]]:
    """Train a head for each job and learning rate; return each at its best, [job][rate].

    Args:
        jobs: they differ in nothing but the seed, which decides everything that is drawn.
        values: features [utterances, layers, width].
        draw: makes the batches from a generator of random numbers; those of all seeds are of the
            same sizes.
        dev_scores: gives every head's score on dev, [heads], in percent.
        label: added to the progress bar's description.
    """
    settings, device = jobs[0].settings, jobs[0].device
    # One stream of random numbers per seed, as in a run of s3prl: the head, then the batches.
    generators = [torch.Generator().manual_seed(job.seed) for job in jobs]
    _, layers, width = values.shape
    rates = len(settings.learning_rates)
    sweep = ParallelHeads(
        layers,
        width,
        len(jobs[0].corpus.classes),
        settings.learning_rates,
        projector_dim=settings.projector_dim,
        clipping=settings.gradient_clipping,
        generators=generators,
        device=device,
        slots=[len(slot) for slot in jobs[0].corpus.slots],
    )
    batches = zip(
        *(accumulate(draw(generator), settings.accumulation) for generator in generators),
        strict=True,
    )
    best = [Best(-1.0, 0, {})] * (len(jobs) * rates)
    description = f"heads ({_count(len(jobs), 'seed')}, {_count(rates, 'rate')}{label})"
    for step in tqdm(range(1, settings.total_steps + 1), description, leave=False, delay=1):
        rows, labels, shares = (torch.stack(part) for part in zip(*next(batches), strict=True))
        features = values[rows].to(device)
        sweep.update(features, labels.to(device), shares.to(device))
        if step % settings.eval_step == 0:
            for head, score in enumerate(dev_scores(sweep).tolist()):
                if score > best[head].dev_score:
                    best[head] = Best(score, step, sweep.state(head))
    return [best[start : start + rates] for start in range(0, len(best), rates)]


def accumulate(batches: Batches, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Join every `count` batches: rows, labels, and the share of each utterance in the loss.

    s3prl's runner divides each batch's mean loss by `count` and adds the gradients up.
    """
    while True:
        parts = list(islice(batches, count))
        shares = [torch.full((len(rows),), 1.0 / (count * len(rows))) for rows, _ in parts]
        rows, labels = zip(*parts, strict=True)
        yield torch.cat(rows), torch.cat(labels), torch.cat(shares)


def predict(heads: Heads, values: Tensor, rows: Sequence[int], slots: Sequence[int] = ()) -> Tensor:
    """Return every head's class of the utterances in `rows`: [heads, len(rows)], on the CPU.

    `slots`: numbers of classes. Of several slots the class within each is returned, [heads,
    len(rows), slots].
    """
    count = min(_ROWS_AT_ONCE, max(1, _WEIGHTED_SUMS_AT_ONCE // len(heads.flat)))
    parts = []
    for part in torch.as_tensor(rows).split(count):
        logits = heads.logits(values[part].to(heads.flat.device))
        if len(slots) > 1:
            chosen = [one.argmax(2) for one in logits.split(list(slots), 2)]
            parts.append(torch.stack(chosen, 2).cpu())
        else:
            parts.append(logits.argmax(2).cpu())
    return torch.cat(parts, dim=1)


def shared_seconds(
    jobs: Sequence[Job], reused: bool, started: float, extracted: float, trained: float
) -> dict[str, float]:
    """Return each job's part of the wall time that all of them took together, by stage.

    The times are those of `time.perf_counter`; the test ends now. Features that were `reused` took
    none.
    """
    stages = {
        "features": 0.0 if reused else extracted - started,
        "heads": trained - extracted,
        "test": time.perf_counter() - trained,
    }
    return {stage: seconds / len(jobs) for stage, seconds in stages.items()}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def padding_notes(job: Job) -> tuple[str, ...]:
    """Note the approximation that fairseq's padding needs; none with independent padding."""
    if job.padding == "independent":
        return ()
    return (
        "Approximate: with fairseq's padding features depend on the batch; "
        "each utterance went through the upstream alone.",
    )
