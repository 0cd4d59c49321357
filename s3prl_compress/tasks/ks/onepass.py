"""The one-pass engine for keyword spotting: s3prl's training, on stored means.

Equal to s3prl's runner: the head, its initialisation, the loss, clipping and Adam; the balanced
sampler with replacement, epochs whose last incomplete batch is dropped; evaluation on dev every
`eval_step` steps, where only a strictly better head replaces the best one; one test at the end.

Different, and said in every record:

- Silence in train and dev. s3prl crops 1 s at a uniformly random start from one of a few
  background files, again each time. Here every file has `crops_per_file` evenly spaced crops;
  whenever the sampler picks a file, one of its crops is drawn uniformly. So the crops of all
  files together carry the class's share, 1 / (number of classes), each file the same part of it.
- Dev. s3prl draws as many utterances as dev has, with replacement, every class with the same
  probability. Here is what that accuracy is on average: the mean over classes of the accuracy in
  each class; that of silence is the mean over the files of the accuracy on all their crops.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...common.errors import InputError
from ...probing.features import features_of
from ...probing.heads import Heads
from ...probing.hidden_states import layer_weights
from ...probing.pooling import Clip, evenly_spaced, whole
from ...probing.training import Batches, padding_notes, predict, shared_seconds, train_heads
from ...results.records import RateResult
from ..base.corpus import SPLITS, Corpus, Item
from ..base.engine import EngineResult, Job
from ..base.task import Settings, Task
from .corpus import SILENCE, KeywordCorpus


@dataclass(frozen=True)
class KeywordClips:
    """Which clips the features are of, row by row: train, dev, test, then the silence crops."""

    clips: list[Clip]
    train: range
    dev: range
    test: range
    background: tuple[range, ...]
    """One range of rows per background file: its evenly spaced crops, for train and dev alike."""
    items: dict[str, list[Item]]
    """The utterances of train, dev and test, in the order of their rows."""


def run_seeds(jobs: Sequence[Job]) -> Iterator[EngineResult]:
    """Score the jobs' encoder; see the module for what is equal to s3prl and what differs."""
    started = time.perf_counter()
    job = jobs[0]
    corpus = job.corpus
    assert isinstance(corpus, KeywordCorpus)
    plan = plan_clips(corpus, job.settings.crops_per_file)
    features = features_of(job, plan.clips)
    values = features.values
    extracted = time.perf_counter()
    trained = train_heads(
        jobs,
        values,
        lambda generator: draw_batches(plan, corpus, job.settings.batch_size, generator),
        lambda heads: dev_scores(heads, values, plan, corpus),
    )
    ready = time.perf_counter()
    # Of one seed: the first rate where two tie.
    winners = [max(best, key=lambda found: found.dev_score) for best in trained]
    heads = Heads([winner.state for winner in winners], job.device)
    tested = predict(heads, values, plan.test).tolist()
    seconds = shared_seconds(jobs, features.reused, started, extracted, ready)
    for best, winner, predicted in zip(trained, winners, tested, strict=True):
        rates = tuple(
            RateResult(learning_rate=rate, dev_score=found.dev_score, best_step=found.step)
            for rate, found in zip(job.settings.learning_rates, best, strict=True)
        )
        yield EngineResult(
            predictions=[
                (corpus.utterance_name(item), item.label, corpus.classes[index])
                for item, index in zip(plan.items["test"], predicted, strict=True)
            ],
            rates=rates,
            learning_rate=rates[best.index(winner)].learning_rate,
            dev_score=winner.dev_score,
            layer_weights=layer_weights([winner.state["layer_weights"]], job.settings.first_state),
            approximate=job.padding != "independent",
            notes=_notes(job, plan),
            seconds=seconds,
        )


def list_clips(task: Task, corpus: Corpus, settings: Settings) -> list[Clip]:
    """Return the clips of which the one-pass engine takes features; see `Task.clips`."""
    assert isinstance(corpus, KeywordCorpus)
    return plan_clips(corpus, settings.crops_per_file).clips


def plan_clips(corpus: KeywordCorpus, crops_per_file: int) -> KeywordClips:
    """List the clips that the one-pass engine needs of a corpus."""
    items = {split: corpus.items(split) for split in SPLITS}
    clips: list[Clip] = []
    ranges = {}
    for split, utterances in items.items():
        ranges[split] = range(len(clips), len(clips) + len(utterances))
        clips += [whole(item.path) for item in utterances]
    background = []
    for path in corpus.background():
        crops = evenly_spaced(path, crops_per_file)
        background.append(range(len(clips), len(clips) + len(crops)))
        clips += crops
    rows = (ranges["train"], ranges["dev"], ranges["test"], tuple(background))
    return KeywordClips(clips, *rows, {str(split): found for split, found in items.items()})


def draw_batches(
    plan: KeywordClips, corpus: KeywordCorpus, batch_size: int, generator: torch.Generator
) -> Batches:
    """Yield batches endlessly: rows of the features, and labels, each [batch_size].

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


def dev_scores(heads: Heads, values: Tensor, plan: KeywordClips, corpus: KeywordCorpus) -> Tensor:
    """Return every head's dev accuracy, [heads], in percent: the mean over the classes of dev."""
    number = {name: index for index, name in enumerate(corpus.classes)}
    labels = torch.tensor([number[item.label] for item in plan.items["dev"]])
    right = (predict(heads, values, plan.dev) == labels).double()
    by_class = [right[:, labels == label].mean(1) for label in labels.unique()]
    if plan.background:
        silence = number[SILENCE]
        files = [
            (predict(heads, values, rows) == silence).double().mean(1) for rows in plan.background
        ]
        by_class.append(torch.stack(files).mean(0))
    return 100.0 * torch.stack(by_class).mean(0)


def _notes(job: Job, plan: KeywordClips) -> tuple[str, ...]:
    notes = ["Dev is the mean of per-class accuracies, the expectation of s3prl's resampling."]
    if plan.background:
        crops = sum(len(rows) for rows in plan.background)
        notes.append(
            f"Silence in train and dev: {crops} evenly spaced 1 s crops of "
            f"{len(plan.background)} background files (at most {job.settings.crops_per_file} a "
            f"file), together weighted 1/{len(job.corpus.classes)} as in s3prl, for its random "
            "crops."
        )
    return (*notes, *padding_notes(job))
