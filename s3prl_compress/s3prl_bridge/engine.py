"""The engine `s3prl`: the official runner, in a child process per learning rate and fold.

A child's folder below `job.work` keeps s3prl's own files (log.log, checkpoints, predictions), so
that a killed run resumes from its last evaluation and a finished one is not run again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from pkgutil import resolve_name
from statistics import fmean

import torch

from ..common.files import write_atomically
from ..encoder import SpeechEncoder, fingerprint, save
from ..results.records import FoldResult, RateResult
from ..statistics import find_metric
from ..tasks.base.corpus import ONE_FOLD, Corpus
from ..tasks.base.engine import EngineResult, Job
from .child import ChildResult, ChildTask
from .downstream import Downstream
from .process import run_child

NOTES = (
    "s3prl's own runner; the checkpoint best on dev is tested once.",
    "The head is initialised from the seed after everything is built, and training's random draws "
    "are not reset by evaluations, as s3prl's would be.",
)
"""Notes on every score of this engine."""


def run(job: Job) -> EngineResult:
    """Train and test with s3prl's runner; see `RunJob`.

    Every learning rate is trained on every fold; the one with the best dev score, in the mean of
    the folds, is tested. Raises `InputError` for invalid input, and `RuntimeError` with the
    end of the child's log for anything else.
    """
    rates = _plan(job)
    alone = len(rates) == 1
    best_of = max if job.task.higher_is_better else min
    results: list[list[ChildResult]] = []
    scores: list[float] = []
    for parts in rates:
        results.append([_child(part, test=alone) for part in parts])
        scores.append(fmean(result.dev_score for result in results[-1]))
        best = scores.index(best_of(scores))
        _remove_checkpoints(rates[:best] + rates[best + 1 : len(scores)])
    if not alone:
        results[best] = [_child(part, test=True) for part in rates[best]]
    every = list(chain(*results))
    outcome = EngineResult(
        predictions=[
            line
            for part, result in zip(rates[best], results[best], strict=True)
            for line in _predictions(job.corpus, part.fold, result)
        ],
        rates=tuple(
            RateResult(
                learning_rate=rate,
                dev_score=score,
                best_step=max(result.best_step for result in row),
            )
            for rate, score, row in zip(job.settings.learning_rates, scores, results, strict=True)
        ),
        learning_rate=job.settings.learning_rates[best],
        dev_score=scores[best],
        approximate=False,
        notes=_notes(job, rates, results),
        seconds={
            stage: sum(result.seconds[stage] for result in every)
            for stage in ("start", "train", "test")
        },
        folds=_folds(job, rates[best], results[best]),
        resumed=any(result.resumed_from for result in every),
    )
    _remove_checkpoints(rates)
    return outcome


def _adapter(job: Job) -> Downstream:
    adapter: Downstream = resolve_name(job.task.downstream)()
    return adapter


@dataclass(frozen=True)
class _Part:
    """One child's run: a learning rate on a fold."""

    name: str
    fold: int
    folder: Path
    task: ChildTask


def _plan(job: Job) -> list[list[_Part]]:
    """Prepare a folder for each learning rate and fold; empty those that held another run."""
    downstream, corpus = _adapter(job), job.corpus
    job.work.mkdir(parents=True, exist_ok=True)
    checkpoint = job.checkpoint
    if checkpoint is None and isinstance(job.encoder, SpeechEncoder):
        checkpoint = job.work / "checkpoint"
        save(job.encoder, checkpoint)
    identity = {
        "encoder": fingerprint(job.encoder),
        "corpus": corpus.fingerprint(),
        "settings": job.settings.identity(),
        "seed": job.seed,
        "padding": job.padding,
    }
    files = job.work / f"files_{corpus.fingerprint()[:8]}"
    rates = []
    for rate in job.settings.learning_rates:
        parts = []
        for fold in corpus.folds:
            name = f"learning rate {rate:g}" + (f", fold {fold}" if fold else "")
            folder = (job.work / name.replace(", ", "_").replace(" ", "_")).absolute()
            _own(folder, json.dumps(identity | {"learning_rate": rate, "fold": fold}))
            task = ChildTask(
                task=job.task.name,
                downstream=job.task.downstream,
                config=downstream.config(corpus, job.settings, rate, fold=fold, files=files),
                classes=corpus.classes,
                upstream=job.upstream,
                checkpoint=None if checkpoint is None else str(checkpoint.absolute()),
                padding=job.padding,
                seed=job.seed,
                device=job.device,
                threads=torch.get_num_threads(),
                test=False,
            )
            parts.append(_Part(name=name, fold=fold, folder=folder, task=task))
        rates.append(parts)
    return rates


def _own(folder: Path, identity: str) -> None:
    """Mark a folder as this run's, after removing the files of another run."""
    digest = hashlib.sha256(identity.encode()).hexdigest()
    marker = folder / "identity"
    if folder.exists() and not (marker.is_file() and marker.read_text() == digest):
        shutil.rmtree(folder)
    write_atomically(marker, digest)


def _child(part: _Part, *, test: bool) -> ChildResult:
    task = part.task.model_copy(update={"test": test})
    return run_child(part.folder, task, f"s3prl {task.task}, {part.name}")


def _remove_checkpoints(rates: list[list[_Part]]) -> None:
    """Remove the checkpoints of runs that are no longer needed."""
    for part in chain(*rates):
        for path in (part.folder / "experiment").glob("*.ckpt*"):
            path.unlink()


def _predictions(corpus: Corpus, fold: int, result: ChildResult) -> list[tuple[str, str, str]]:
    """Check s3prl's test set against the corpus, file by file; return it in the corpus's order."""
    items = corpus.items("test", fold)
    found = {path: (truth, predicted) for path, truth, predicted in result.predictions or []}
    wanted = {str(item.path.absolute()): item.label for item in items}
    if {path: truth for path, (truth, _) in found.items()} != wanted:
        raise RuntimeError(
            f"s3prl's test set ({len(found)} files) is not that of {corpus.root} "
            f"({len(wanted)} files): did the folder change during the run?"
        )
    return [
        (corpus.utterance_name(item), item.label, found[str(item.path.absolute())][1])
        for item in items
    ]


def _folds(job: Job, parts: list[_Part], results: list[ChildResult]) -> tuple[FoldResult, ...]:
    if job.corpus.folds == ONE_FOLD:
        return ()
    metric = find_metric(job.task.metric)
    folds = []
    for part, result in zip(parts, results, strict=True):
        rows = _predictions(job.corpus, part.fold, result)
        folds.append(
            FoldResult(
                fold=part.fold,
                score=metric.score([row[1] for row in rows], [row[2] for row in rows]),
                dev_score=result.dev_score,
                test_size=len(rows),
            )
        )
    return tuple(folds)


def _notes(job: Job, rates: list[list[_Part]], results: list[list[ChildResult]]) -> tuple[str, ...]:
    notes = [*NOTES, *_adapter(job).notes(job.corpus, job.settings, job.device)]
    for part, result in zip(chain(*rates), chain(*results), strict=True):
        if result.resumed_from:
            notes.append(
                f"{part.name[0].upper()}{part.name[1:]} was resumed at step "
                f"{result.resumed_from}: s3prl's checkpoints hold no state of the random "
                "generators, so an undisturbed run would have ended elsewhere."
            )
    if job.settings.total_steps % job.settings.eval_step:
        notes.append("Steps after the last evaluation count for nothing.")
    return tuple(notes)
