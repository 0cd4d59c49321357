"""Scoring of models by their own output layer, for tasks that train no head (`Task.own_head`).

There is no recipe, no seed and no sweep: a cell is a model and a test set.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.errors import InputError
from ..common.files import locked
from ..common.precision import full_precision
from ..common.validation import pick_device
from ..results import records
from ..results.environment import environment
from ..results.records import ScoreRecord, Upstream
from ..statistics import find_metric
from ..tasks.base.corpus import Corpus
from ..tasks.base.engine import ENGINE_VERSIONS, WORK_FOLDER
from ..tasks.base.own_head import LanguageModelOptions, OwnHead, Recognition
from ..tasks.base.task import Task
from ..tasks.registry import find_task, locate_corpus, open_corpus
from .cell import finished_record, speakers_of, write_predictions
from .identity import own_head_identity, stem_of


def score_test_sets(
    source: Any,
    task: str = "ctc",
    *,
    data: Sequence[str | Path],
    output: str | Path,
    device: str | None = None,
    name: str | None = None,
    force: bool = False,
    normalize: bool | None = None,
    options: Mapping[str, Any] | None = None,
    language_model: LanguageModelOptions | None = None,
) -> list[ScoreRecord]:
    """Score a model by its own output layer on several test sets, and write a record for each.

    With a language model, a second record of each test set follows its first one, which is always
    without. The model and all test sets are checked before the first one is scored. A cell whose
    complete record lies in `output` already is not run again.

    Args:
        source: folder, file or hub id of a model, or a loaded model: for `ctc` what `load` takes or
            an encoder; for `whisper` what `whisper.load` takes or returns.
        task: name of a task that trains no head.
        data: test sets, in the form that the task reads; or sources that hold several of them, such
            as the folder of LibriSpeech with test-clean and test-other; or the word `demo`.
        output: folder of records.
        device: as torch names it; cuda where there is one, else the CPU.
        name: of the upstream in tables; by default the last part of `source`.
        force: run the cells even if their records are there.
        normalize: whether waveforms are normalised; overrides the checkpoint. Not for an encoder
            that is already loaded.
        options: options of the task by name, such as the `language` of `whisper`.
        language_model: to decode with, for tasks that take one.

    Raises:
        InputError: the model lacks the output layer, the task has no such option, or the data are
            not usable.
    """
    found = find_task(task)
    places = [locate_corpus(task, str(place), Path(output) / "corpora") for place in data]
    sets = [one for place in places for one in found.test_sets(place)]
    return score_own_head(
        source,
        found,
        data=sets,
        output=output,
        device=device,
        name=name,
        force=force,
        normalize=normalize,
        options=options,
        language_model=language_model,
        plain=True,
    )


def score_own_head(
    source: Any,
    task: Task,
    *,
    data: Sequence[str | Path],
    output: str | Path,
    device: str | None = None,
    name: str | None = None,
    force: bool = False,
    normalize: bool | None = None,
    options: Mapping[str, Any] | None = None,
    language_model: LanguageModelOptions | None = None,
    plain: bool = False,
) -> list[ScoreRecord]:
    """Score a model on test sets, of which each source holds one; see `score_test_sets`.

    `plain`: where a language model is given, score without it, too.
    """
    device, head = pick_device(device), task.load_own_head(options)
    model = head.load(source, normalize=normalize)
    below = Path(output) / "corpora"
    places = [locate_corpus(task.name, str(place), below) for place in data]
    corpora = [open_corpus(place, task.name) for place in places]
    for corpus in corpora:
        corpus.check()
    cells = [
        (corpus, one) for corpus in corpora for one in _heads(head, corpus, language_model, plain)
    ]
    for corpus, one in cells:
        one.check_corpus(model, corpus)
    given = str(source) if isinstance(source, (str, Path)) else None
    short = "encoder" if given is None else Path(given.rstrip("/")).name.removesuffix(".pt")
    upstream = head.describe(model, name or short, given)
    return [
        _score(model, upstream, task, one, corpus, Path(output), device, force=force)
        for corpus, one in cells
    ]


def _heads(
    head: OwnHead[Any], corpus: Corpus, language_model: LanguageModelOptions | None, plain: bool
) -> list[OwnHead[Any]]:
    """Return the ways in which a test set is scored."""
    if language_model is None:
        return [head]
    searching = head.with_language_model(language_model, corpus)
    return [head, searching] if plain else [searching]


def _score(
    model: Any,
    upstream: Upstream,
    task: Task,
    head: OwnHead[Any],
    corpus: Corpus,
    output: Path,
    device: str,
    *,
    force: bool,
) -> ScoreRecord:
    """Score one cell, unless its complete record exists or another process writes it."""
    identity = own_head_identity(upstream.checkpoint_sha256, corpus.fingerprint(), task, head)
    stem = stem_of(upstream, (task.name, head.engine), identity)
    if not force and (finished := finished_record(output, stem)) is not None:
        return finished
    lock = output / WORK_FOLDER / f"{stem}.lock"
    with locked(lock, f"scoring the same cell, {stem}"), full_precision():
        if not force and (finished := finished_record(output, stem)) is not None:
            return finished
        started = time.monotonic()
        result = head.recognise(model, corpus, device, output / WORK_FOLDER)
        seconds = time.monotonic() - started
        corpus.check_unchanged()
        record = _record(upstream, task, head, corpus, result, stem, device, seconds)
        names = [corpus.utterance_name(item) for item in corpus.test_items()]
        rows = list(zip(names, result.truth, result.predicted, strict=True))
        write_predictions(record, rows, speakers_of(corpus), output, result.further)
        records.write_record(record, output, stem)
    return record


def _record(
    upstream: Upstream,
    task: Task,
    head: OwnHead[Any],
    corpus: Corpus,
    result: Recognition,
    stem: str,
    device: str,
    seconds: float,
) -> ScoreRecord:
    truth, predicted, used = result.truth, result.predicted, result.language_model
    metric = find_metric(task.metric)
    measured = metric.measure(truth, predicted, speakers_of(corpus))
    return ScoreRecord(
        upstream=upstream,
        task=task.name,
        task_version=task.version,
        variant=corpus.variant,
        engine=head.engine,
        engine_version=ENGINE_VERSIONS[head.engine],
        padding="independent",
        seed=None,
        recipe=records.NO_RECIPE,
        settings=dict(head.settings),
        metric=metric.label,
        higher_is_better=metric.higher_is_better,
        score=measured.score,
        standard_error=measured.standard_error,
        interval=measured.interval,
        error_units=measured.units,
        test_size=len(truth),
        chance=metric.chance(truth),
        other_metrics=metric.other_metrics(truth, predicted),
        edits=metric.edits(truth, predicted),
        runaways=result.runaways,
        learning_rate=None,
        rates=(),
        dev_score=min((tried.dev_score for tried in used.grid), default=None) if used else None,
        language_model=used,
        corpus=corpus.record(),
        approximate=False,
        notes=_notes(upstream, head, corpus, result),
        predictions=f"{stem}.csv",
        seconds={"recognition": seconds},
        environment=environment(device),
    )


def _notes(
    upstream: Upstream, head: OwnHead[Any], corpus: Corpus, result: Recognition
) -> tuple[str, ...]:
    random = "The upstream's base has random weights." if upstream.random_weights else ""
    generated = "The corpus is generated speech." if corpus.generated else ""
    return tuple(filter(None, (head.note, random, generated, *result.notes)))


def nothing_to_train(task: Task, **given: object) -> None:
    """Refuse arguments of `score` that have no meaning for a task that trains no head."""
    usual = {"engine": "onepass", "recipe": "smoke", "seed": 0}
    named = [key for key, value in given.items() if value != usual.get(key)]
    if named:
        raise InputError(
            f"task {task.name}: nothing is trained, so it takes no {', '.join(named)}; leave that "
            "out"
        )


def check_no_options(task: Task, options: Mapping[str, Any] | None) -> None:
    """Refuse options for a task that trains a head: its settings are those of a recipe."""
    if options:
        raise InputError(f"task {task.name}: takes no {', '.join(options)}; leave that out")


def no_language_model(task: str) -> InputError:
    """Return the error for a language model that is given for a task that trains a head."""
    return InputError(
        f"task {task}: its heads are decoded without a language model; leave lm out, or score the "
        "model's own head (task ctc)"
    )
