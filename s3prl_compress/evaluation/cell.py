"""A cell's file stem, whether it is finished, its record, its lock and its scratch folder."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ..common.errors import InputError
from ..common.files import locked, write_atomically
from ..encoder import SpeechEncoder, normalization_note
from ..encoder.exported import ExportedEncoder
from ..report.notes import NOT_TUNED
from ..results import records
from ..results.environment import environment
from ..results.records import ScoreRecord, Upstream
from ..statistics import find_metric
from ..tasks.base.corpus import Corpus
from ..tasks.base.engine import ENGINE_VERSIONS, WORK_FOLDER, EngineResult, Job
from ..tasks.base.task import Settings, Task
from .identity import cell_identity, stem_of
from .rates import ChosenRate, choice_of


def cell_stem(
    upstream: Upstream,
    corpus: Corpus,
    task: Task,
    settings: Settings,
    engine: records.Engine,
    seed: int,
    rate: ChosenRate | None = None,
) -> str:
    """Return the file stem of a cell: readable parts, then a hash of its identity."""
    identity = cell_identity(
        upstream.checkpoint_sha256,
        corpus.fingerprint(),
        task,
        settings,
        engine,
        seed,
        None if rate is None else rate.learning_rate,
    )
    return stem_of(upstream, (task.name, engine, settings.padding, f"seed{seed}"), identity)


def finished_record(output: Path, stem: str) -> ScoreRecord | None:
    """Return the record of a cell that is complete: readable, with all of its predictions."""
    path = output / f"{stem}.json"
    if not path.is_file():
        return None
    try:
        record = records.read_record(path)
        if not isinstance(record, ScoreRecord):
            return None
        with open(output / record.predictions, newline="", encoding="utf-8") as file:
            rows = sum(1 for _ in csv.reader(file)) - 1
    except (InputError, OSError, UnicodeDecodeError):
        return None
    return record if rows == record.test_size else None


def record_path(record: ScoreRecord, output: str | Path) -> Path:
    """Return the path of a record that `score` returned."""
    return Path(output) / f"{record.predictions.removesuffix('.csv')}.json"


def make_record(
    job: Job,
    result: EngineResult,
    upstream: Upstream,
    task: Task,
    engine: records.Engine,
    recipe: str,
    settings: Settings,
    rate: ChosenRate | None,
    stem: str,
    total_seconds: float,
    seeds_together: int = 1,
) -> ScoreRecord:
    """Turn an engine's result into a record; the score is counted here, from the predictions.

    `settings` are the recipe's; the job's differ from them where `rate` was taken from elsewhere.
    `seeds_together`: how many seeds the engine trained in the same run.
    """
    _check_predictions(job.corpus, result)
    truth = [row[1] for row in result.predictions]
    predicted = [row[2] for row in result.predictions]
    metric = find_metric(task.metric)
    folds = [fold.test_size for fold in result.folds]
    measured = metric.measure(truth, predicted, speakers_of(job.corpus), folds)
    return ScoreRecord(
        upstream=upstream,
        task=task.name,
        task_version=task.version,
        variant=job.corpus.variant,
        engine=engine,
        engine_version=ENGINE_VERSIONS[engine],
        padding=job.padding,
        seed=job.seed,
        recipe=recipe,
        settings=settings.identity(),
        metric=metric.label,
        higher_is_better=metric.higher_is_better,
        score=measured.score,
        standard_error=measured.standard_error,
        interval=measured.interval,
        error_units=measured.units,
        chance=metric.chance(truth),
        other_metrics=metric.other_metrics(truth, predicted),
        edits=metric.edits(truth, predicted),
        test_size=len(truth),
        folds=result.folds,
        layer_weights=result.layer_weights,
        resumed=result.resumed,
        learning_rate=result.learning_rate,
        rate_choice=choice_of(settings, rate),
        rate_record=None if rate is None else rate.record,
        rates=result.rates,
        dev_score=result.dev_score,
        corpus=job.corpus.record(),
        approximate=result.approximate,
        notes=(*_notes(job, upstream), *_rate_notes(settings, rate), *result.notes),
        predictions=f"{stem}.csv",
        seconds={**result.seconds, "total": total_seconds},
        seeds_together=seeds_together,
        environment=environment(job.device),
    )


def speakers_of(corpus: Corpus) -> list[str]:
    """Return the speakers of the test utterances, in the order of predictions; "" if unknown."""
    return [item.speaker for item in corpus.test_items()]


def write_cell(record: ScoreRecord, result: EngineResult, corpus: Corpus, output: Path) -> Path:
    """Write the predictions, then the record: a cell with a record is complete."""
    write_predictions(record, result.predictions, speakers_of(corpus), output)
    return records.write_record(record, output, record.predictions.removesuffix(".csv"))


def write_predictions(
    record: ScoreRecord,
    predictions: Sequence[tuple[str, str, str]],
    speakers: Sequence[str],
    output: Path,
    further: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write the predictions beside their record: file, truth, predicted, speaker, and `further`.

    `further` has further columns by their names.
    """
    columns = dict(further or {})
    rows = [
        (*row, *others)
        for row, *others in zip(predictions, speakers, *columns.values(), strict=True)
    ]
    write_atomically(output / record.predictions, _csv(rows, tuple(columns)))


def _notes(job: Job, upstream: Upstream) -> list[str]:
    notes, corpus = [], job.corpus
    if upstream.random_weights:
        notes.append(
            "The upstream's base has random weights: nothing was learned, so its scores say "
            "nothing about compression."
        )
    if corpus.generated:
        notes.append("The corpus is generated speech: not comparable with published scores.")
    if isinstance(job.encoder, ExportedEncoder):
        notes.append(job.encoder.note())
    if isinstance(job.encoder, SpeechEncoder | ExportedEncoder) and (
        note := normalization_note(job.encoder)
    ):
        notes.append(note)
    return [*notes, *corpus.notes]


def _rate_notes(settings: Settings, rate: ChosenRate | None) -> list[str]:
    if rate is not None:
        return [
            "The learning rate is the one that the one-pass engine chose on dev for this upstream "
            "and corpus."
        ]
    return [NOT_TUNED] if len(settings.learning_rates) == 1 else []


def _check_predictions(corpus: Corpus, result: EngineResult) -> None:
    """Every test utterance once, in order, with its label: else the engine is wrong."""
    expected = [(corpus.utterance_name(item), item.label) for item in corpus.test_items()]
    given = [(file, truth) for file, truth, _ in result.predictions]
    if given != expected:
        raise RuntimeError(
            f"the engine predicted {len(given)} utterances that are not the {len(expected)} of "
            f"the test split (first ones: {given[:1]} and {expected[:1]})"
        )


def _csv(rows: Sequence[tuple[str, ...]], further: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "truth", "predicted", "speaker", *further))
    writer.writerows(rows)
    return text.getvalue()


def cell_lock(output: Path, stem: str) -> AbstractContextManager[None]:
    """Hold a cell, so that no other process scores it meanwhile; see `files.locked`."""
    return locked(output / WORK_FOLDER / f"{stem}.lock", f"scoring the same cell, {stem}")


def work_folder(output: Path, stem: str, *, empty: bool) -> Path:
    """Return the scratch folder of a cell; `empty`: an engine must not find its own work there."""
    work = output / WORK_FOLDER / stem
    if empty:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return work
