"""`score`: one cell, from a checkpoint and a corpus to a record on disk."""

from __future__ import annotations

import importlib
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..common.errors import InputError
from ..common.extras import require_extra
from ..common.precision import full_precision
from ..common.validation import pick_device
from ..encoder import (
    PADDINGS,
    SpeechEncoder,
    describe,
    is_checkpoint,
    load_unless_loaded,
    read_config,
    save,
)
from ..encoder.adapter import UpstreamAdapter
from ..encoder.exported import exported_runtime
from ..probing.hidden_states import check_first_state
from ..results.records import Engine, Padding, ScoreRecord, Upstream
from ..tasks.base.corpus import Corpus
from ..tasks.base.engine import EngineResult, Job, RunJob
from ..tasks.base.own_head import LanguageModelOptions
from ..tasks.base.task import Settings, Task
from ..tasks.registry import find_task, locate_corpus, open_corpus
from .cell import (
    cell_lock,
    cell_stem,
    finished_record,
    make_record,
    record_path,
    work_folder,
    write_cell,
)
from .own_head import check_no_options, no_language_model, nothing_to_train, score_own_head
from .rates import ChosenRate, onepass_scores, rates_by_onepass, read_scores

_ENGINE_MODULES = {
    "onepass": "s3prl_compress.evaluation.onepass",
    # Imported on use only: s3prl takes seconds to import and changes global state.
    "s3prl": "s3prl_compress.s3prl_bridge.engine",
}


def score(
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    task: str = "ks",
    *,
    data: str | Path,
    output: str | Path,
    engine: Engine = "onepass",
    recipe: str | Path = "smoke",
    seed: int = 0,
    device: str | None = None,
    padding: Padding | None = None,
    name: str | None = None,
    force: bool = False,
    cache: str | Path | None = None,
    normalize: bool | None = None,
    options: Mapping[str, Any] | None = None,
    language_model: LanguageModelOptions | None = None,
) -> ScoreRecord:
    """Score an encoder on a task and return the record, which is written to `output`.

    A cell whose complete record lies in `output` already is not run again: its identity is what
    decides the result (encoder, corpus, task, settings, seed, engine and its version, padding), not
    when or where it was run. Of two processes that score the same cell, the second waits for the
    first and takes its record.

    Where the recipe leaves s3prl's learning rate to the one-pass engine (`rate_from: onepass`, as
    `official` does), it is that of a one-pass record in `output` for the same encoder, corpus and
    recipe, of this seed if there is one; without any, the one-pass engine is run first.

    Args:
        source: what `s3prl_compress.load` takes, an exported model, an encoder, or an upstream that
            is not ours: its batches are s3prl's, so its padding is fairseq's. For `whisper`, what
            `whisper.load` takes or returns.
        task: name of a task, see `available_tasks`. For one that trains no head (`ctc`,
            `whisper`), engine, recipe, seed, padding and cache have no meaning and stay as they
            are.
        data: the corpus: a folder; a csv table, which is prepared in `output`/corpora on first use,
            see `prepare`; or the word `demo` for the generated speech of this package. For a task
            that trains no head, one test set in the form that it reads; `score_test_sets` takes
            several.
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
        normalize: whether waveforms are normalised; overrides the checkpoint. Not for an encoder
            that is already loaded.
        options: of a task that trains no head; see `score_test_sets`.
        language_model: to decode with, for tasks that take one (`ctc`); without it, decoding is
            greedy.

    Raises:
        InputError: one line: an unknown name, a recipe, corpus or checkpoint that cannot be used.
    """
    declared = find_task(task)
    if not declared.trains_head:
        nothing_to_train(
            declared, engine=engine, recipe=recipe, seed=seed, padding=padding, cache=cache
        )
        (record,) = score_own_head(
            source,
            declared,
            data=[data],
            output=output,
            device=device,
            name=name,
            force=force,
            normalize=normalize,
            options=options,
            language_model=language_model,
        )
        return record
    check_no_options(declared, options)
    if language_model is not None:
        raise no_language_model(task)
    order = open_order(
        source, task, data, output, engine, recipe, seed, device, padding, name, cache, normalize
    )
    return score_order(order, engine, force=force)


def open_order(
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    task: str,
    data: str | Path,
    output: str | Path,
    engine: Engine,
    recipe: str | Path,
    seed: int,
    device: str | None,
    padding: Padding | None,
    name: str | None,
    cache: str | Path | None,
    normalize: bool | None,
) -> Order:
    """Check the arguments of `score`, and load the encoder and the corpus that they name."""
    declared = find_task(task)
    settings, _ = declared.load_settings(recipe, engine)
    if not isinstance(source, nn.Module) and exported_runtime(source) is not None:
        source, normalize = _load_exported(source, padding, normalize), None
    if engine == "s3prl" and not declared.downstream:
        raise InputError(f"task {task}: s3prl has no such downstream; use the engine onepass")
    if engine == "s3prl":
        require_extra("train", "engine s3prl")
    device = pick_device(device)
    if seed < 0:
        raise InputError(f"seed {seed}: must not be below 0")
    used = _padding(source, padding, settings)
    if used not in PADDINGS:
        raise InputError(f"padding {used}: choose one of {', '.join(PADDINGS)}")
    if engine == "onepass" and not onepass_scores(declared, third_party=_is_third_party(source)):
        given = source.name if isinstance(source, UpstreamAdapter) else source
        raise InputError(
            f"{name or given}: {task}, onepass: how many frames an upstream of s3prl's "
            "own makes is not known beforehand; use the engine s3prl"
        )
    encoder = load_unless_loaded(source, padding=used, normalize=normalize)
    upstream = _describe(encoder, source, name)
    # After the encoder: a table is prepared here, which a wrong model should not wait for.
    corpus = open_corpus(locate_corpus(task, str(data), Path(output) / "corpora"), task)
    corpus.check()
    check_first_state(settings, encoder.shape.states, upstream.name)
    return Order(
        source=source,
        encoder=encoder,
        upstream=upstream,
        task=declared,
        corpus=corpus,
        recipe=recipe,
        padding=padding,
        seed=seed,
        device=device,
        output=Path(output),
        cache=Path(cache) if cache is not None else None,
    )


def score_order(order: Order, engine: Engine, *, force: bool) -> ScoreRecord:
    """Score a cell; where the recipe says so, at the learning rate that one-pass chose."""
    by_onepass = onepass_scores(order.task, third_party=_is_third_party(order.source))
    if order.settings(engine).rate_from is None or not by_onepass:
        return _score(order, engine, force=force)
    rates = _rates_by_onepass(order)
    for rate in () if force else rates:
        finished = finished_record(order.output, order.stem(engine, rate))
        if finished is not None:
            return finished
    return _score(order, engine, rates[0], force=force)


@dataclass(frozen=True)
class Order:
    """A request for a score, the same for both engines: upstream, corpus, recipe and seed."""

    source: str | Path | SpeechEncoder | UpstreamAdapter
    encoder: SpeechEncoder | UpstreamAdapter
    upstream: Upstream
    task: Task
    corpus: Corpus
    recipe: str | Path
    padding: Padding | None
    """As given; None: the recipe's."""
    seed: int
    device: str
    output: Path
    cache: Path | None

    def settings(self, engine: Engine) -> Settings:
        """Return the recipe's settings for an engine, with the padding that is used."""
        settings, _ = self.task.load_settings(self.recipe, engine)
        padding = _padding(self.source, self.padding, settings)
        return settings.model_copy(update={"padding": padding})

    def stem(self, engine: Engine, rate: ChosenRate | None) -> str:
        """Return the file stem of the cell."""
        settings = self.settings(engine)
        return cell_stem(self.upstream, self.corpus, self.task, settings, engine, self.seed, rate)


def _rates_by_onepass(order: Order) -> list[ChosenRate]:
    """Return the learning rates of the one-pass records in the output; make one if there is none.

    Raises:
        InputError: the one-pass engine cannot score the upstream.
    """
    complete = [
        record
        for record in read_scores(order.output)
        if finished_record(order.output, record.predictions.removesuffix(".csv")) is not None
    ]
    rates = rates_by_onepass(
        complete,
        checkpoint=order.upstream.checkpoint_sha256,
        task=order.task,
        corpus=order.corpus.fingerprint(),
        settings=order.settings("onepass"),
        seed=order.seed,
    )
    if rates:
        return rates
    print(
        f"{order.upstream.name}, {order.task.name}: {order.output} holds no one-pass record of "
        f"recipe {order.recipe}; running the one-pass engine first, which chooses the learning "
        "rate",
        file=sys.stderr,
        flush=True,
    )
    try:
        record = _score(order, "onepass")
    except InputError as error:
        raise InputError(
            f"the one-pass engine, which is to choose the learning rate, failed: {error}; to sweep "
            "on the engine s3prl instead, give a recipe file with `extends: official` and "
            "`learning_rates: [...]`"
        ) from error
    assert record.learning_rate is not None
    path = record_path(record, order.output)
    return [ChosenRate(record.learning_rate, path.name)]


def _score(
    order: Order, engine: Engine, rate: ChosenRate | None = None, *, force: bool = False
) -> ScoreRecord:
    """Score one cell, unless its complete record exists or another process writes it."""
    stem = order.stem(engine, rate)
    if not force and (finished := finished_record(order.output, stem)) is not None:
        return finished
    with cell_lock(order.output, stem), full_precision():
        if not force and (finished := finished_record(order.output, stem)) is not None:
            return finished
        return _run(order, engine, rate, work_folder(order.output, stem, empty=force))


def _run(order: Order, engine: Engine, rate: ChosenRate | None, work: Path) -> ScoreRecord:
    """Train and test in the work folder, and write the record."""
    job = make_job(order, engine, rate, work)
    run: RunJob = importlib.import_module(_ENGINE_MODULES[engine]).run
    started = time.perf_counter()
    result = run(job)
    total = time.perf_counter() - started
    return write_result(order, engine, rate, job, result, total)


def make_job(order: Order, engine: Engine, rate: ChosenRate | None, work: Path) -> Job:
    """Return an engine's job for a cell; `work` is its scratch folder."""
    encoder, settings = order.encoder, order.settings(engine)
    if rate is not None:
        settings = settings.model_copy(update={"learning_rates": (rate.learning_rate,)})
    return Job(
        encoder=encoder,
        checkpoint=_checkpoint(encoder, order.source, work) if engine == "s3prl" else None,
        upstream=encoder.upstream if isinstance(encoder, UpstreamAdapter) else "compressed",
        task=order.task,
        corpus=order.corpus,
        settings=settings,
        seed=order.seed,
        padding=settings.padding,
        work=work,
        device=order.device,
        cache=order.cache,
    )


def write_result(
    order: Order,
    engine: Engine,
    rate: ChosenRate | None,
    job: Job,
    result: EngineResult,
    seconds: float,
    seeds_together: int = 1,
) -> ScoreRecord:
    """Write the record of a job's result, and remove the engine's copy of the encoder.

    Raises:
        InputError: the corpus has changed since its fingerprint was taken. No record is written,
            and what the engine has kept is removed.
    """
    try:
        order.corpus.check_unchanged()
    except InputError:
        shutil.rmtree(job.work, ignore_errors=True)
        raise
    _, recipe_name = order.task.load_settings(order.recipe, engine)
    record = make_record(
        job,
        result,
        order.upstream,
        order.task,
        engine,
        recipe_name,
        order.settings(engine),
        rate,
        job.work.name,
        seconds,
        seeds_together,
    )
    write_cell(record, result, order.corpus, order.output)
    shutil.rmtree(job.work / "upstream", ignore_errors=True)
    return record


def _padding(
    source: str | Path | SpeechEncoder | UpstreamAdapter, given: Padding | None, settings: Settings
) -> Padding:
    return source.padding if isinstance(source, UpstreamAdapter) else given or settings.padding


def _load_exported(
    source: str | Path, padding: Padding | None, normalize: bool | None
) -> UpstreamAdapter:
    """Load an exported model; its padding is independent, whatever the recipe says."""
    exported = load_unless_loaded(source, padding=padding or "independent", normalize=normalize)
    assert isinstance(exported, UpstreamAdapter)
    return exported


def _is_third_party(source: str | Path | SpeechEncoder | UpstreamAdapter) -> bool:
    return isinstance(source, UpstreamAdapter) and not source.frames_known


def _describe(
    encoder: SpeechEncoder | UpstreamAdapter,
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    name: str | None,
) -> Upstream:
    if isinstance(encoder, UpstreamAdapter):
        return encoder.describe(name or encoder.name)
    if isinstance(source, nn.Module):
        return describe(encoder, name or "encoder", encoder.provenance.base)
    text = str(source)
    return describe(encoder, name or Path(text.rstrip("/")).name.removesuffix(".pt"), text)


def _checkpoint(
    encoder: SpeechEncoder | UpstreamAdapter,
    source: str | Path | SpeechEncoder | UpstreamAdapter,
    work: Path,
) -> Path | None:
    """Return a folder of ours with the encoder, for an engine that runs in another process."""
    if isinstance(encoder, UpstreamAdapter):
        return encoder.checkpoint
    if (
        not isinstance(source, nn.Module)
        and is_checkpoint(source)
        and read_config(source).normalize == encoder.normalize
    ):
        return Path(source)
    return save(encoder, work / "upstream")
