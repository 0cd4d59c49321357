"""Training all heads of a job at the same time, as s3prl's runner trains one.

Equal to the runner (`s3prl/downstream/runner.py`): a step is one update; the gradients of
`accumulation` batches are added up for it, each batch's mean divided by their number, so that an
utterance of a short batch counts for more; what is left over at the end of an epoch stays for the
next update; dev is evaluated every `eval_step` steps, and only a strictly better head replaces the
best one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from ..engine import Job
from .heads import HeadSweep

_ROWS_AT_ONCE = 1024
"""Utterances per forward pass in evaluations: 40 MB at base size."""

Batches = Iterator[tuple[Tensor, Tensor]]
"""Without end: rows of the features and class numbers, each [batch]."""


@dataclass(frozen=True)
class Best:
    """What a head reached at its best."""

    dev_score: float
    """In percent."""
    step: int
    state: dict[str, Tensor]
    """See `HeadSweep.state`."""


def train_heads(
    job: Job,
    values: Tensor,
    draw: Callable[[torch.Generator], Batches],
    dev_scores: Callable[[HeadSweep], Tensor],
    *,
    label: str = "",
) -> tuple[HeadSweep, list[Best]]:
    """Train a head for each learning rate; return them and what each was at its best.

    Args:
        job: its settings and seed decide everything that is drawn.
        values: features [utterances, layers, width].
        draw: makes the batches from a generator of random numbers.
        dev_scores: gives every head's score on dev, [heads], in percent.
        label: what the progress bar says beside the number of rates.
    """
    settings = job.settings
    # One stream of random numbers, as in a run of s3prl: first the head, then the batches.
    generator = torch.Generator().manual_seed(job.seed)
    _, layers, width = values.shape
    sweep = HeadSweep(
        layers,
        width,
        len(job.corpus.classes),
        settings.learning_rates,
        projector_dim=settings.projector_dim,
        clipping=settings.gradient_clipping,
        generator=generator,
        device=job.device,
    )
    batches = accumulate(draw(generator), settings.accumulation)
    heads = len(settings.learning_rates)
    best = [Best(-1.0, 0, {})] * heads
    description = f"heads ({heads} rate{'s' if heads > 1 else ''}{label})"
    for step in tqdm(range(1, settings.total_steps + 1), description, leave=False, delay=1):
        rows, labels, shares = next(batches)
        features = values[rows].to(job.device)
        sweep.update(features, labels.to(job.device), shares.to(job.device))
        if step % settings.eval_step == 0:
            for head, score in enumerate(dev_scores(sweep).tolist()):
                if score > best[head].dev_score:
                    best[head] = Best(score, step, sweep.state(head))
    return sweep, best


def accumulate(batches: Batches, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Join every `count` batches: rows, labels, and the share of each utterance in the loss.

    s3prl's runner divides each batch's mean loss by `count` and adds the gradients up.
    """
    while True:
        parts = list(islice(batches, count))
        shares = [torch.full((len(rows),), 1.0 / (count * len(rows))) for rows, _ in parts]
        rows, labels = zip(*parts, strict=True)
        yield torch.cat(rows), torch.cat(labels), torch.cat(shares)


def predict(sweep: HeadSweep, values: Tensor, rows: Sequence[int]) -> Tensor:
    """Return every head's class of the utterances in `rows`: [heads, len(rows)], on the CPU."""
    parts = []
    for part in torch.as_tensor(rows).split(_ROWS_AT_ONCE):
        parts.append(sweep.logits(values[part].to(sweep.flat.device)).argmax(2).cpu())
    return torch.cat(parts, dim=1)


def padding_notes(job: Job) -> tuple[str, ...]:
    """Say what is not exact with fairseq's padding; nothing with independent padding."""
    if job.padding == "independent":
        return ()
    return (
        "Approximate: with fairseq's padding features depend on the batch; "
        "each utterance went through the upstream alone.",
    )
