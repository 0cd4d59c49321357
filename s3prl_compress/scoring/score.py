"""`score`: one cell, from a checkpoint and a corpus to a record on disk."""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ..encoder import PADDINGS, SpeechEncoder, describe, is_checkpoint, load, save
from ..errors import InputError
from ..files import write_atomically
from ..reporting import records
from ..reporting.records import Padding, ScoreRecord, Upstream
from . import metrics
from .corpus import KeywordCorpus, check_corpus, open_corpus
from .engine import EngineResult, Job, RunJob, utterance_name
from .task import Settings, Task, find_task, load_settings

_ENGINE_MODULES = {
    "onepass": "s3prl_compress.scoring.onepass",
    # Imported on use only: s3prl takes seconds to import and changes global state.
    "s3prl": "s3prl_compress.s3prl_bridge.engine",
}
WORK_FOLDER = ".work"
"""Below the output folder: what engines keep to resume from, and the features that cells share."""


def score(
    source: str | Path | SpeechEncoder,
    task: str = "ks",
    *,
    data: str | Path,
    output: str | Path,
    engine: records.Engine = "onepass",
    recipe: str | Path = "smoke",
    seed: int = 0,
    device: str | None = None,
    padding: Padding | None = None,
    name: str | None = None,
    force: bool = False,
    cache: str | Path | None = None,
) -> ScoreRecord:
    """Score an encoder on a task and return the record, which is written to `output`.

    A cell whose complete record lies in `output` already is not run again: its identity is what
    it is made of (encoder, corpus, task, settings, seed, engine, padding), not when or where.

    Args:
        source: what `s3prl_compress.load` takes, or an encoder.
        task: name of a task; there is "ks".
        data: the corpus folder, see `prepare`.
        output: folder of records. Beside `<stem>.json` stands `<stem>.csv`, the predictions.
        engine: "onepass" or "s3prl".
        recipe: "smoke", "official" or a YAML file, see `load_settings`.
        seed: of the head's initial weights and of the batches.
        device: as torch names it; cuda where there is one, else the CPU.
        padding: the recipe's if None.
        name: of the upstream in tables; by default the last part of `source`.
        force: run the cell from its start even if its record is there. Features are kept: they
            are known by their content.
        cache: folder of features, to share them between output folders.

    Raises:
        InputError: one line: an unknown name, a recipe, corpus or checkpoint that cannot be used.
    """
    declaration = find_task(task)
    settings, recipe_name = load_settings(task, recipe, engine)
    device = _device(device)
    if seed < 0:
        raise InputError(f"seed {seed}: must not be below 0")
    padding = padding or settings.padding
    if padding not in PADDINGS:
        raise InputError(f"padding {padding}: choose one of {', '.join(PADDINGS)}")
    corpus = open_corpus(Path(data))
    check_corpus(corpus)
    encoder = source if isinstance(source, SpeechEncoder) else load(source, padding=padding)
    upstream = _describe(encoder, source, name)
    settings = settings.model_copy(update={"padding": padding})
    output = Path(output)
    stem = cell_stem(upstream, corpus, declaration, settings, engine, seed)
    if not force and (finished := finished_record(output, stem)) is not None:
        return finished
    work = output / WORK_FOLDER / stem
    if force:  # an engine must not find its own finished work there
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    job = Job(
        encoder=encoder,
        checkpoint=_checkpoint(encoder, source, work) if engine == "s3prl" else None,
        corpus=corpus,
        settings=settings,
        seed=seed,
        padding=padding,
        work=work,
        device=device,
        cache=Path(cache) if cache is not None else None,
    )
    run: RunJob = importlib.import_module(_ENGINE_MODULES[engine]).run
    started = time.perf_counter()
    result = run(job)
    total = time.perf_counter() - started
    record = make_record(job, result, upstream, declaration, engine, recipe_name, stem, total)
    write_atomically(output / record.predictions, _csv(result.predictions))
    records.write_record(record, output, stem)
    shutil.rmtree(work / "upstream", ignore_errors=True)
    return record


def cell_stem(
    upstream: Upstream,
    corpus: KeywordCorpus,
    task: Task,
    settings: Settings,
    engine: records.Engine,
    seed: int,
) -> str:
    """Return the file stem of a cell: readable parts, then a hash of all that it is made of."""
    identity = {
        "task": task.name,
        "task_version": task.version,
        "checkpoint": upstream.checkpoint_sha256,
        "corpus": corpus.fingerprint(),
        "settings": settings.identity(),
        "engine": engine,
        "padding": settings.padding,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    name = re.sub(r"[^\w.+-]+", "-", upstream.name).strip("-.") or "upstream"
    return f"{name}.{task.name}.{engine}.{settings.padding}.seed{seed}.{digest[:8]}"


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
    """Return where `score` wrote this record, or found it."""
    return Path(output) / f"{record.predictions.removesuffix('.csv')}.json"


def make_record(
    job: Job,
    result: EngineResult,
    upstream: Upstream,
    task: Task,
    engine: records.Engine,
    recipe: str,
    stem: str,
    total_seconds: float,
) -> ScoreRecord:
    """Turn an engine's result into a record; the score is counted here, from the predictions."""
    _check_predictions(job.corpus, result)
    truth = [row[1] for row in result.predictions]
    accuracy = metrics.accuracy(truth, [row[2] for row in result.predictions])
    return ScoreRecord(
        upstream=upstream,
        task=task.name,
        task_version=task.version,
        variant=job.corpus.variant,
        engine=engine,
        padding=job.padding,
        seed=job.seed,
        recipe=recipe,
        settings=job.settings.identity(),
        metric=f"{task.metric} ({task.unit})",
        higher_is_better=task.higher_is_better,
        score=accuracy,
        standard_error=metrics.binomial_standard_error(accuracy, len(truth)),
        test_size=len(truth),
        chance=metrics.chance(truth),
        learning_rate=result.learning_rate,
        rates=result.rates,
        dev_score=result.dev_score,
        corpus=job.corpus.record(),
        approximate=result.approximate,
        notes=(*_notes(job.corpus, upstream), *result.notes),
        predictions=f"{stem}.csv",
        seconds={**result.seconds, "total": total_seconds},
        environment=records.environment(job.device),
    )


def _notes(corpus: KeywordCorpus, upstream: Upstream) -> list[str]:
    notes = []
    if upstream.random_weights:
        notes.append(
            "The upstream's base has random weights: nothing was learned, so its scores say "
            "nothing about compression."
        )
    if corpus.generated:
        notes.append("The corpus is generated speech: not comparable with published scores.")
    return notes


def _check_predictions(corpus: KeywordCorpus, result: EngineResult) -> None:
    """Every test utterance once, in order, with its label: else the engine is wrong."""
    expected = [(utterance_name(corpus, item), item.label) for item in corpus.items("test")]
    given = [(file, truth) for file, truth, _ in result.predictions]
    if given != expected:
        raise RuntimeError(
            f"the engine predicted {len(given)} utterances that are not the {len(expected)} of "
            f"the test split (first ones: {given[:1]} and {expected[:1]})"
        )


def _describe(
    encoder: SpeechEncoder, source: str | Path | SpeechEncoder, name: str | None
) -> Upstream:
    if isinstance(source, SpeechEncoder):
        return describe(encoder, name or "encoder", encoder.provenance.base)
    text = str(source)
    return describe(encoder, name or Path(text.rstrip("/")).name.removesuffix(".pt"), text)


def _checkpoint(encoder: SpeechEncoder, source: str | Path | SpeechEncoder, work: Path) -> Path:
    """Return a folder of ours with the encoder, for an engine that runs in another process."""
    if not isinstance(source, SpeechEncoder) and is_checkpoint(source):
        return Path(source)
    return save(encoder, work / "upstream")


def _device(device: str | None) -> str:
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InputError(
            f"device {device}: torch knows no such device; give cpu or cuda"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {device}: torch finds no CUDA device here; give cpu")
    return device


def _csv(predictions: Sequence[tuple[str, str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "truth", "predicted"))
    writer.writerows(predictions)
    return text.getvalue()
