"""Scoring of models by their own output layer, for tasks that train no head (`Task.own_head`).

There is no recipe, no seed and no sweep: a cell is a model and a test set.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ..common.errors import InputError
from ..common.files import locked
from ..common.precision import full_precision
from ..common.validation import pick_device
from ..encoder import SpeechEncoder, describe, load_unless_loaded, normalization_note
from ..encoder.adapter import UpstreamAdapter
from ..encoder.exported import ExportedEncoder
from ..results import records
from ..results.records import ScoreRecord, Upstream
from ..statistics import find_metric
from ..tasks.base.corpus import Corpus
from ..tasks.base.engine import ENGINE_VERSIONS, WORK_FOLDER
from ..tasks.base.own_head import LanguageModelOptions, OwnHead, OwnHeadResult
from ..tasks.base.task import Task
from ..tasks.registry import find_task, locate_corpus, open_corpus
from .cell import finished_record, speakers_of, write_predictions
from .identity import own_head_identity, stem_of


def score_test_sets(
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    task: str = "ctc",
    *,
    data: Sequence[str | Path],
    output: str | Path,
    device: str | None = None,
    name: str | None = None,
    force: bool = False,
    normalize: bool | None = None,
    language_model: LanguageModelOptions | None = None,
) -> list[ScoreRecord]:
    """Score a model by its own output layer on several test sets, and write a record for each.

    With a language model, a second record of each test set follows its first one, which is always
    without. The model and all test sets are checked before the first one is scored. A cell whose
    complete record lies in `output` already is not run again.

    Args:
        source: what `load` takes, or an encoder.
        task: name of a task that trains no head.
        data: test sets, in the form that the task reads; or sources that hold several of them, such
            as the folder of LibriSpeech with test-clean and test-other; or the word `demo`.
        output: folder of records.
        device: as torch names it; cuda where there is one, else the CPU.
        name: of the upstream in tables; by default the last part of `source`.
        force: run the cells even if their records are there.
        normalize: whether waveforms are normalised; overrides the checkpoint. Not for an encoder
            that is already loaded.
        language_model: to decode with, for tasks that take one.

    Raises:
        InputError: the model lacks the output layer, or the data are not usable.
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
        language_model=language_model,
        plain=True,
    )


def score_own_head(
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    task: Task,
    *,
    data: Sequence[str | Path],
    output: str | Path,
    device: str | None = None,
    name: str | None = None,
    force: bool = False,
    normalize: bool | None = None,
    language_model: LanguageModelOptions | None = None,
    plain: bool = False,
) -> list[ScoreRecord]:
    """Score a model on test sets, of which each source holds one; see `score_test_sets`.

    `plain`: where a language model is given, score without it, too.
    """
    device, head = pick_device(device), task.load_own_head()
    encoder = load_unless_loaded(source, normalize=normalize)
    given = "the encoder" if isinstance(source, nn.Module) else str(source)
    head.check(encoder, given)
    assert isinstance(encoder, SpeechEncoder | ExportedEncoder)  # `check` refuses all others
    below = Path(output) / "corpora"
    places = [locate_corpus(task.name, str(place), below) for place in data]
    corpora = [open_corpus(place, task.name) for place in places]
    for corpus in corpora:
        corpus.check()
        head.check_corpus(encoder, corpus)
    described = given
    if isinstance(source, SpeechEncoder):
        described = source.provenance.base
    cells = [
        (corpus, one) for corpus in corpora for one in _heads(head, corpus, language_model, plain)
    ]
    for _, one in cells:
        one.check(encoder, given)
    short = "encoder" if isinstance(source, nn.Module) else Path(given.rstrip("/")).name
    upstream = describe(encoder, name or short.removesuffix(".pt"), described)
    return [
        _score(encoder, upstream, task, one, corpus, Path(output), device, force=force)
        for corpus, one in cells
    ]


def _heads(
    head: OwnHead, corpus: Corpus, language_model: LanguageModelOptions | None, plain: bool
) -> list[OwnHead]:
    """Return the ways in which a test set is scored."""
    if language_model is None:
        return [head]
    searching = head.with_language_model(language_model, corpus)
    return [head, searching] if plain else [searching]


def _score(
    encoder: SpeechEncoder | ExportedEncoder,
    upstream: Upstream,
    task: Task,
    head: OwnHead,
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
        result = head.predict(encoder, corpus, device, output / WORK_FOLDER)
        seconds = time.monotonic() - started
        notes = (*_notes(encoder, upstream, head, corpus), *result.notes)
        record = _record(upstream, task, head, corpus, result, notes, stem, device, seconds)
        rows = [
            (corpus.utterance_name(item), item.label, text)
            for item, text in zip(corpus.test_items(), result.predictions, strict=True)
        ]
        write_predictions(record, rows, speakers_of(corpus), output)
        records.write_record(record, output, stem)
    return record


def _record(
    upstream: Upstream,
    task: Task,
    head: OwnHead,
    corpus: Corpus,
    result: OwnHeadResult,
    notes: tuple[str, ...],
    stem: str,
    device: str,
    seconds: float,
) -> ScoreRecord:
    truth = [item.label for item in corpus.test_items()]
    predicted, used = result.predictions, result.language_model
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
        learning_rate=None,
        rates=(),
        dev_score=min((tried.dev_score for tried in used.grid), default=None) if used else None,
        language_model=used,
        corpus=corpus.record(),
        approximate=False,
        notes=notes,
        predictions=f"{stem}.csv",
        seconds={"recognition": seconds},
        environment=records.environment(device),
    )


def _notes(
    encoder: SpeechEncoder | ExportedEncoder, upstream: Upstream, head: OwnHead, corpus: Corpus
) -> tuple[str, ...]:
    random = "The upstream's base has random weights." if upstream.random_weights else ""
    generated = "The corpus is generated speech." if corpus.generated else ""
    runtime = encoder.note() if isinstance(encoder, ExportedEncoder) else ""
    notes = (head.note, runtime, random, generated, *head.notes(encoder, corpus))
    return tuple(filter(None, (*notes, normalization_note(encoder))))


def nothing_to_train(task: Task, **given: object) -> None:
    """Refuse arguments of `score` that have no meaning for a task that trains no head."""
    usual = {"engine": "onepass", "recipe": "smoke", "seed": 0}
    named = [key for key, value in given.items() if value != usual.get(key)]
    if named:
        raise InputError(
            f"task {task.name}: nothing is trained, so it takes no {', '.join(named)}; leave that "
            "out"
        )


def no_language_model(task: str) -> InputError:
    """Return the error for a language model that is given for a task that trains a head."""
    return InputError(
        f"task {task}: its heads are decoded without a language model; leave lm out, or score the "
        "model's own head (task ctc)"
    )
