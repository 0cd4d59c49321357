"""The one-pass engine: s3prl's keyword-spotting training on stored means, many rates at once.

Equal to s3prl's runner: the head, its initialisation, the loss, clipping and Adam; the balanced
sampler with replacement, epochs whose last incomplete batch is dropped; evaluation on dev every
`eval_step` steps, where only a strictly better head replaces the best one; one test at the end.

Different, and said in every record:

- Silence in train and dev. s3prl crops 1 s at a uniformly random start from one of a few
  background files, anew each time. Here every file has `crops_per_file` evenly spaced crops;
  whenever the sampler picks a file, one of its crops is drawn uniformly. So the crops of all
  files together carry the class's share, 1 / (number of classes), each file the same part of it.
- Dev. s3prl draws as many utterances as dev has, with replacement, every class with the same
  probability. Here is what that accuracy is on average: the mean over classes of the accuracy in
  each class; that of silence is the mean over the files of the accuracy on all their crops.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from ...errors import InputError
from ...reporting.records import RateResult
from ..corpora.keywords import SILENCE, KeywordCorpus
from ..engine import EngineResult, Job
from .features import Features, Plan, load_features
from .heads import HeadSweep

_ROWS_AT_ONCE = 1024
"""Utterances per forward pass in evaluations: 40 MB at base size."""


def run(job: Job) -> EngineResult:
    """Score the job's encoder; see the module for what is equal to s3prl and what is not."""
    started = time.perf_counter()
    corpus = job.corpus
    assert isinstance(corpus, KeywordCorpus)
    features = load_features(
        job.encoder,
        corpus,
        crops_per_file=job.settings.crops_per_file,
        padding=job.padding,
        cache=job.cache or job.work.parent / "features",
        device=job.device,
        seconds_per_batch=job.settings.seconds_per_batch,
    )
    extracted = time.perf_counter()
    sweep, rates, best = _train(job, corpus, features)
    trained = time.perf_counter()
    plan = features.plan
    sweep.load_state(best)
    predicted = predict(sweep, features.values, plan.test)[0]
    names = corpus.classes
    chosen = max(rates, key=lambda rate: rate.dev_score)  # the first one where two tie
    return EngineResult(
        predictions=[
            (corpus.utterance_name(item), item.label, names[index])
            for item, index in zip(plan.items["test"], predicted.tolist(), strict=True)
        ],
        rates=rates,
        learning_rate=chosen.learning_rate,
        dev_score=chosen.dev_score,
        approximate=job.padding != "independent",
        notes=_notes(job, plan),
        seconds={
            "features": 0.0 if features.reused else extracted - started,
            "heads": trained - extracted,
            "test": time.perf_counter() - trained,
        },
    )


def draw_batches(
    plan: Plan, corpus: KeywordCorpus, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches without end: rows of the features, and labels, each [batch_size].

    As `SpeechCommandsDataset` and `WeightedRandomSampler` do: an entry per utterance and per
    background file, an entry's weight is 1 / (size of its class), an epoch draws as many entries
    as there are, with replacement.
    """
    number = {name: index for index, name in enumerate(corpus.classes)}
    labels = [number[item.label] for item in plan.items["train"]]
    labels += [number[SILENCE] for _ in plan.background]
    if len(labels) < batch_size:
        raise InputError(
            f"{corpus.root}: {len(labels)} training utterances are not one batch of {batch_size}; "
            "set a smaller batch_size in the recipe"
        )
    counts = Counter(labels)
    weights = torch.tensor([len(labels) / counts[label] for label in labels], dtype=torch.double)
    # Of every entry: its first row, and how many rows there are to choose from.
    ranges = [range(row, row + 1) for row in plan.train] + list(plan.background)
    first = torch.tensor([rows.start for rows in ranges])
    choices = torch.tensor([len(rows) for rows in ranges])
    label = torch.tensor(labels)
    while True:
        entries = torch.multinomial(weights, len(labels), replacement=True, generator=generator)
        share = torch.rand(len(labels), generator=generator, dtype=torch.double)
        rows = first[entries] + (share * choices[entries]).long()
        drawn = label[entries]
        for start in range(0, len(labels) - batch_size + 1, batch_size):
            yield rows[start : start + batch_size], drawn[start : start + batch_size]


def predict(sweep: HeadSweep, values: Tensor, rows: range) -> Tensor:
    """Return every head's class of the utterances in `rows`: [heads, len(rows)], on the CPU."""
    parts = []
    for start in range(rows.start, rows.stop, _ROWS_AT_ONCE):
        part = values[start : min(start + _ROWS_AT_ONCE, rows.stop)]
        parts.append(sweep.logits(part.to(sweep.flat.device)).argmax(2).cpu())
    return torch.cat(parts, dim=1)


def dev_scores(sweep: HeadSweep, features: Features, corpus: KeywordCorpus) -> Tensor:
    """Return every head's dev accuracy, [heads], in percent: the mean over the classes of dev."""
    plan = features.plan
    number = {name: index for index, name in enumerate(corpus.classes)}
    labels = torch.tensor([number[item.label] for item in plan.items["dev"]])
    right = (predict(sweep, features.values, plan.dev) == labels).double()
    by_class = [right[:, labels == label].mean(1) for label in labels.unique()]
    if plan.background:
        silence = number[SILENCE]
        files = [
            (predict(sweep, features.values, rows) == silence).double().mean(1)
            for rows in plan.background
        ]
        by_class.append(torch.stack(files).mean(0))
    return 100.0 * torch.stack(by_class).mean(0)


def _train(
    job: Job, corpus: KeywordCorpus, features: Features
) -> tuple[HeadSweep, tuple[RateResult, ...], dict[str, Tensor]]:
    """Train all heads; return them, what each reached on dev, and the best one's weights."""
    settings = job.settings
    # One stream of random numbers, as in a run of s3prl: first the head, then the batches.
    generator = torch.Generator().manual_seed(job.seed)
    _, layers, width = features.values.shape
    sweep = HeadSweep(
        layers,
        width,
        len(corpus.classes),
        settings.learning_rates,
        projector_dim=settings.projector_dim,
        clipping=settings.gradient_clipping,
        generator=generator,
        device=job.device,
    )
    batches = draw_batches(features.plan, corpus, settings.batch_size, generator)
    heads = len(settings.learning_rates)
    best: list[tuple[float, int, dict[str, Tensor]]] = [(-1.0, 0, {})] * heads
    description = f"heads ({heads} rate{'s' if heads > 1 else ''})"
    for step in tqdm(range(1, settings.total_steps + 1), description, leave=False, delay=1):
        rows, labels = next(batches)
        sweep.update(features.values[rows].to(job.device), labels.to(job.device))
        if step % settings.eval_step == 0:
            for head, score in enumerate(dev_scores(sweep, features, corpus).tolist()):
                if score > best[head][0]:
                    best[head] = (score, step, sweep.state(head))
    rates = tuple(
        RateResult(learning_rate=rate, dev_score=score, best_step=step)
        for rate, (score, step, _) in zip(settings.learning_rates, best, strict=True)
    )
    winner = max(range(heads), key=lambda head: best[head][0])
    return sweep, rates, best[winner][2]


def _notes(job: Job, plan: Plan) -> tuple[str, ...]:
    notes = ["Dev is the mean of per-class accuracies, the expectation of s3prl's resampling."]
    if plan.background:
        crops = sum(len(rows) for rows in plan.background)
        notes.append(
            f"Silence in train and dev: {crops} evenly spaced 1 s crops of "
            f"{len(plan.background)} background files (at most {job.settings.crops_per_file} a "
            f"file), together weighted 1/{len(job.corpus.classes)} as in s3prl, for its random "
            "crops."
        )
    if job.padding != "independent":
        notes.append(
            "Approximate: with fairseq's padding features depend on the batch; "
            "each utterance went through the upstream alone."
        )
    return tuple(notes)
