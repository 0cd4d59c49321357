"""The one-pass engine: speakers, emotions and intents on stored means.

Equal to s3prl's runner and its experts `voxceleb1`, `emotion` and `fluent_commands`: the head, its
initialisation, the loss, accumulation, clipping and Adam; every epoch in a new order, its last
batch short; dev and test whole; and what `training` lists. Emotion recognition trains one head per
fold, each from the same seed as a run of its own, and takes one learning rate for all folds: the
one with the best mean of the folds' dev scores. Intents have three slots, whose cross entropies are
added up; an utterance is right where all three are.

Different, and said in every record where it occurs: s3prl crops a training clip that is longer
than `longest_seconds` at a new random place every time. Here `crops_per_clip` random crops replace
it, the same for every upstream and seed; whenever the clip is drawn, one of them is taken.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from ..audio.clips import SAMPLING_RATE
from ..common.errors import InputError
from ..results.records import FoldResult, RateResult
from ..statistics import metrics
from ..tasks.base.corpus import SPLITS, Corpus, Item
from ..tasks.base.engine import EngineResult, Job
from ..tasks.base.task import Settings, Task
from .features import features_of
from .heads import Heads
from .hidden_states import layer_weights
from .pooling import Clip, whole
from .training import Batches, Best, padding_notes, predict, shared_seconds, train_heads


@dataclass(frozen=True)
class UtteranceClips:
    """Which clips the features are of, and where an utterance's are."""

    clips: list[Clip]
    whole: dict[str, int]
    """Row of an utterance as it is heard in evaluations, by `Item.relative`."""
    train: dict[str, range]
    """Rows of a training utterance: itself, or its crops."""
    longest: int | None
    """Samples of a crop; None: training clips stay whole."""


def run_seeds(jobs: Sequence[Job]) -> Iterator[EngineResult]:
    """Score the jobs' encoder; see the module for what is equal to s3prl and what differs."""
    started = time.perf_counter()
    job = jobs[0]
    corpus = job.corpus
    plan = plan_clips(corpus, *_cropping(job.task, job.settings))
    features = features_of(job, plan.clips)
    extracted = time.perf_counter()
    by_fold = [_train(jobs, plan, features.values, fold) for fold in corpus.folds]
    ready = time.perf_counter()
    by_job = list(zip(*by_fold, strict=True))  # [job][fold][rate]
    rates = [_rates(job, best) for best in by_job]
    chosen = [_best_rate(found) for found in rates]
    tested = [
        _test(job, plan, features.values, fold, [b[c] for b, c in zip(best, chosen, strict=True)])
        for fold, best in zip(corpus.folds, by_fold, strict=True)
    ]
    seconds = shared_seconds(jobs, features.reused, started, extracted, ready)
    for number, (found, rate, best) in enumerate(zip(rates, chosen, by_job, strict=True)):
        parts = [predicted[number] for predicted in tested]
        folds = tuple(
            _fold_result(fold, part, of_fold[rate].dev_score)
            for fold, part, of_fold in zip(corpus.folds, parts, best, strict=True)
        )
        yield EngineResult(
            predictions=list(chain(*parts)),
            rates=found,
            learning_rate=found[rate].learning_rate,
            dev_score=found[rate].dev_score,
            layer_weights=layer_weights(
                [of_fold[rate].state["layer_weights"] for of_fold in best],
                job.settings.first_state,
            ),
            approximate=job.padding != "independent",
            notes=_notes(job, plan),
            seconds=seconds,
            folds=folds if len(folds) > 1 else (),
        )


def list_clips(task: Task, corpus: Corpus, settings: Settings) -> list[Clip]:
    """Return the clips of which the one-pass engine takes features; see `Task.clips`."""
    return plan_clips(corpus, *_cropping(task, settings)).clips


def plan_clips(corpus: Corpus, longest: int | None, crops: int) -> UtteranceClips:
    """List the clips that the one-pass engine needs of a corpus, each once for all folds.

    `longest`: a training clip of more samples is given as `crops` crops of that many.
    """
    plan = UtteranceClips([], {}, {}, longest)
    for fold in corpus.folds:
        for split in SPLITS:
            for item in corpus.items(split, fold):
                _add(plan, item, train=split == "train", crops=crops)
    return plan


def random_crops(clip: Clip, samples: int, crops: int, seed: str) -> list[Clip]:
    """Return `crops` clips of `samples` samples at random places in a clip, no place twice.

    As s3prl's, each start is as likely as any other. `seed` alone decides which they are.
    """
    places = range(clip.start, clip.start + clip.samples - samples + 1)
    starts = random.Random(seed).sample(places, min(crops, len(places)))
    return [Clip(clip.path, start, samples) for start in sorted(starts)]


def draw_batches(
    plan: UtteranceClips,
    items: Sequence[Item],
    labels: Tensor,
    batch_size: int,
    generator: torch.Generator,
) -> Batches:
    """Yield batches endlessly: rows of the features, [batch], and labels.

    `labels` are those of the items, see `class_numbers`.
    As a shuffling `DataLoader` does: every epoch has all utterances once, in a random order; its
    last batch may be short. One crop of a cropped utterance is drawn uniformly.
    """
    if not items:
        raise InputError("the corpus has no training utterances; prepare it again")
    ranges = [plan.train[item.relative] for item in items]
    first = torch.tensor([rows.start for rows in ranges])
    choices = torch.tensor([len(rows) for rows in ranges])
    while True:
        order = torch.randperm(len(items), generator=generator)
        share = torch.rand(len(items), generator=generator, dtype=torch.double)
        rows = first[order] + (share * choices[order]).long()
        yield from zip(rows.split(batch_size), labels[order].split(batch_size), strict=True)


def class_numbers(corpus: Corpus, items: Sequence[Item]) -> Tensor:
    """Return the class number of every item: [items], or [items, slots] if there are several."""
    numbers = [{name: index for index, name in enumerate(slot)} for slot in corpus.slots]
    rows = [
        [known[value] for known, value in zip(numbers, corpus.values(item.label), strict=True)]
        for item in items
    ]
    labels = torch.tensor(rows, dtype=torch.long).view(len(items), len(numbers))
    return labels.squeeze(1) if len(numbers) == 1 else labels


def _cropping(task: Task, settings: Settings) -> tuple[int | None, int]:
    """Return the samples of a training crop, None if the task does not crop, and their number."""
    samples = round(settings.longest_seconds * SAMPLING_RATE)
    return (samples if task.crops_training else None), settings.crops_per_clip


def _add(plan: UtteranceClips, item: Item, *, train: bool, crops: int) -> None:
    """Add the clips of an utterance to the plan, unless they are there already."""
    if item.relative in (plan.train if train else plan.whole):
        return
    clip = whole(item.path)
    start = len(plan.clips)
    if train and plan.longest is not None and clip.samples > plan.longest:
        plan.clips.extend(random_crops(clip, plan.longest, crops, item.relative))
        plan.train[item.relative] = range(start, len(plan.clips))
        return
    plan.clips.append(clip)
    plan.whole[item.relative] = start
    if train or plan.longest is None:
        plan.train[item.relative] = range(start, start + 1)


def _train(
    jobs: Sequence[Job], plan: UtteranceClips, values: Tensor, fold: int
) -> list[list[Best]]:
    """Train all heads of a fold; return each at its best, [job][rate]."""
    corpus, batch_size = jobs[0].corpus, jobs[0].settings.batch_size
    items, dev = corpus.items("train", fold), corpus.items("dev", fold)
    if not dev:
        raise InputError(f"{corpus.root}: no dev utterances in fold {fold}; prepare it again")
    rows = [plan.whole[item.relative] for item in dev]
    labels, dev_labels = class_numbers(corpus, items), class_numbers(corpus, dev)
    slots = [len(slot) for slot in corpus.slots]

    def draw(generator: torch.Generator) -> Batches:
        return draw_batches(plan, items, labels, batch_size, generator)

    def dev_scores(heads: Heads) -> Tensor:
        right = predict(heads, values, rows, slots) == dev_labels
        if len(slots) > 1:
            right = right.all(2)  # an utterance is right if every slot is
        return 100.0 * right.double().mean(1)

    label = f", fold {fold}" if fold else ""
    return train_heads(jobs, values, draw, dev_scores, label=label)


def _test(
    job: Job, plan: UtteranceClips, values: Tensor, fold: int, best: Sequence[Best]
) -> list[list[tuple[str, str, str]]]:
    """Return the predictions of each head for the test part of a fold, [head][utterance]."""
    corpus = job.corpus
    items = corpus.items("test", fold)
    heads = Heads([found.state for found in best], job.device)
    slots = [len(slot) for slot in corpus.slots]
    predicted = predict(heads, values, [plan.whole[item.relative] for item in items], slots)
    return [
        [
            (corpus.utterance_name(item), item.label, _label(corpus, numbers))
            for item, numbers in zip(items, row, strict=True)
        ]
        for row in predicted.view(len(best), len(items), len(slots)).tolist()
    ]


def _label(corpus: Corpus, numbers: Sequence[int]) -> str:
    return corpus.label([slot[n] for slot, n in zip(corpus.slots, numbers, strict=True)])


def _best_rate(rates: Sequence[RateResult]) -> int:
    """Return the position of the best rate on dev, the first one where two tie."""
    return max(range(len(rates)), key=lambda index: rates[index].dev_score)


def _rates(job: Job, folds: Sequence[list[Best]]) -> tuple[RateResult, ...]:
    """Of several folds: the mean of the dev scores, and the latest of the best steps."""
    return tuple(
        RateResult(
            learning_rate=rate,
            dev_score=sum(found.dev_score for found in best) / len(best),
            best_step=max(found.step for found in best),
        )
        for rate, best in zip(job.settings.learning_rates, zip(*folds, strict=True), strict=True)
    )


def _fold_result(fold: int, tested: list[tuple[str, str, str]], dev_score: float) -> FoldResult:
    _, truth, predicted = zip(*tested, strict=True)
    score = metrics.accuracy(truth, predicted)
    return FoldResult(fold=fold, score=score, dev_score=dev_score, test_size=len(tested))


def _notes(job: Job, plan: UtteranceClips) -> tuple[str, ...]:
    notes = []
    cropped = sum(
        1 for rows in plan.train.values() if plan.clips[rows.start].samples == plan.longest
    )
    if plan.longest is not None and cropped:
        notes.append(
            f"{cropped} of {len(plan.train)} training clips are longer than "
            f"{job.settings.longest_seconds:g} s: {job.settings.crops_per_clip} random crops of "
            "each, drawn once, stand for s3prl's, which are drawn again every time."
        )
    if len(job.corpus.folds) > 1:
        notes.append(
            f"One learning rate for all {len(job.corpus.folds)} folds, the best by the mean of "
            "their dev scores."
        )
    return (*notes, *padding_notes(job))
