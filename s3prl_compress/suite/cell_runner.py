"""Run cells: make an upstream, score it or time it, inside the worker process."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from ..common.errors import InputError
from ..common.files import locked, writing
from ..common.validation import pick_device, use_threads
from ..encoder import SpeechEncoder, fingerprint, load_unless_loaded
from ..encoder.adapter import UpstreamAdapter
from ..evaluation import record_path, score, score_seeds
from ..evaluation.shards import store_shard
from ..latency import time_upstreams, write_time_record
from ..probing.shards import Shard
from ..tasks.registry import locate_corpus
from .baselines import load_baseline
from .cells import SuiteCell
from .models import Model, kind_of_model
from .plan import CellResult, SuitePlan
from .suite_file import TaskEntry, UpstreamEntry
from .times import find_time_record
from .upstreams import load_upstream, make_upstream, upstream_source


def run_cells(plan: SuitePlan, cells: Sequence[SuiteCell]) -> tuple[CellResult, ...]:
    """Run one cell, or the cells of a batch together (see `groups`), and return a result for each.

    An exception becomes a failure of every cell of the batch. Cells that are complete in the output
    folder are recognised by their content and skipped.
    """
    started = time.perf_counter()
    use_threads(plan.threads or plan.suite.threads)
    details, restart_worker = "", False
    outcomes: Sequence[_Outcome]
    try:
        with writing(plan.output):
            outcomes = _RUNNERS[cells[0].kind](plan, cells)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        # Only invalid input is known to leave the process clean; after anything else it may hold
        # on to memory, GPU memory above all.
        restart_worker = not isinstance(error, InputError)
        message = f"{type(error).__name__}: {reason}" if restart_worker else reason
        details = traceback.format_exc()
        outcomes = [("failed", message, False)] * len(cells)
        if restart_worker:
            print(details, file=sys.stderr, flush=True)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # the next cell may run in another process on the same GPU
    seconds = time.perf_counter() - started
    return tuple(
        CellResult(
            title=cell.title,
            state=state,
            message=message,
            details=details,
            seconds=seconds / len(cells),
            random_weights=random_weights,
            # Importing s3prl's hub changes global state of the process.
            restart_worker=restart_worker or "s3prl.hub" in sys.modules,
        )
        for cell, (state, message, random_weights) in zip(cells, outcomes, strict=True)
    )


_State = Literal["done", "skipped", "failed"]
_Outcome = tuple[_State, str, bool]
"""State, message, and whether the weights are random."""


def _make(plan: SuitePlan, cell: SuiteCell) -> _Outcome:
    entry = _entry(plan, cell.upstream)
    if entry.s3prl is not None:
        baseline, cached = load_baseline(entry, plan.upstreams)
        message = f"{baseline.facts.cost.parameters:,} parameters, s3prl's own {entry.s3prl}"
        return _outcome(cached, message, random_weights=False)
    base = None if entry.base is None else _model(plan, entry.base)
    model, cached = make_upstream(entry, base, plan.upstreams, pick_device(_device(plan)))
    kind = kind_of_model(model)
    random_weights = kind.provenance(model).random_weights
    message = f"{kind.parameters(model):,} parameters"
    if random_weights:
        message += ", random weights"
    return _outcome(cached, message, random_weights)


def _score(plan: SuitePlan, cells: Sequence[SuiteCell]) -> list[_Outcome]:
    """Score cells that differ only in their seed."""
    cell = cells[0]
    assert cell.task is not None
    assert cell.engine is not None
    task = plan.suite.tasks[cell.task]
    entry = _entry(plan, cell.upstream)
    # By name and inode, not by age: clocks jump, and those of a cluster differ.
    before = {(path.name, path.stat().st_ino) for path in plan.records.glob("*.json")}
    options: dict[str, Any] = {
        "data": _corpus(plan, task),
        "output": plan.records,
        "device": _device(plan),
        "name": entry.name,
        "normalize": entry.normalize,
    }
    seeds = [cell.seed for cell in cells if cell.seed is not None]
    if seeds:
        options |= {"engine": cell.engine, "recipe": task.recipe, "padding": task.padding}
        records = score_seeds(_source(plan, entry), task.task, seeds=seeds, **options)
    else:  # no head is trained
        language_model = task.lm if cell.engine == "lm" else None
        options |= {"options": task.options, "language_model": language_model}
        records = [score(_source(plan, entry), task.task, **options)]
    outcomes = []
    for record in records:
        # `score_seeds` returns existing records as they are: only their files tell them apart.
        path = record_path(record, plan.records)
        skipped = (path.name, path.stat().st_ino) in before
        message = f"{record.score:.1f} \N{PLUS-MINUS SIGN} {record.standard_error:.1f}"
        outcomes.append(_outcome(skipped, message, record.upstream.random_weights))
    return outcomes


def _store_shard(plan: SuitePlan, cell: SuiteCell) -> _Outcome:
    """Compute a shard of the features that the scores of an upstream on a task share."""
    assert cell.task is not None
    assert cell.shard is not None
    assert cell.shards is not None
    task, entry = plan.suite.tasks[cell.task], _entry(plan, cell.upstream)
    stored = store_shard(
        _source(plan, entry),
        task.task,
        Shard(cell.shard, cell.shards),
        data=_corpus(plan, task),
        output=plan.records,
        recipe=task.recipe,
        device=_device(plan),
        padding=task.padding,
        name=entry.name,
        normalize=entry.normalize,
    )
    return ("done", "computed", False) if stored else ("skipped", "nothing to compute", False)


def _time(plan: SuitePlan, cell: SuiteCell) -> _Outcome:
    timing = plan.suite.time
    assert timing is not None
    alone = timing.against in (None, cell.upstream)
    this = _encoder_of(plan, cell.upstream)
    against = None if alone else _encoder_of(plan, str(timing.against))
    device = pick_device(_device(plan))
    record = find_time_record(
        plan.records,
        fingerprint(this),
        None if against is None else fingerprint(against),
        timing,
        device,
    )
    skipped = record is not None
    if record is None:
        record = time_upstreams(
            this,
            against,
            name=cell.upstream,
            against_name=None if alone else timing.against,
            repeats=timing.repeats,
            warmup=timing.warmup,
            threads=timing.threads,
            dtype=timing.dtype,
            device=device,
            batch_size=timing.batch_size,
            utterances_per_bucket=timing.utterances_per_bucket,
        )
        write_time_record(record, plan.records)
    overall = next(bucket for bucket in record.buckets if bucket.name == "all")
    message = f"RTFx {overall.rtfx:.4g}"
    if overall.speedup is not None:
        message += f", speed-up {overall.speedup:.2f}"
    return _outcome(skipped, message, record.upstream.random_weights)


_RUNNERS: dict[str, Callable[[SuitePlan, Sequence[SuiteCell]], Sequence[_Outcome]]] = {
    "upstream": lambda plan, cells: [_make(plan, cells[0])],
    "features": lambda plan, cells: [_store_shard(plan, cells[0])],
    "score": _score,
    "time": lambda plan, cells: [_time(plan, cells[0])],
}


def _outcome(skipped: bool, message: str, random_weights: bool) -> _Outcome:
    if skipped:
        return "skipped", f"{message}, skipped: already complete", random_weights
    return "done", message, random_weights


def _entry(plan: SuitePlan, name: str) -> UpstreamEntry:
    return next(entry for entry in plan.suite.upstreams if entry.name == name)


def _corpus(plan: SuitePlan, task: TaskEntry) -> Path:
    """Return the folder of a task's corpus, which is prepared if need be."""
    # Cluster jobs start at the same time; the first one may have to prepare the corpus.
    with locked(plan.output / ".corpora.lock", "preparing corpora"):
        return locate_corpus(task.task, task.data, plan.corpora)


def _model(plan: SuitePlan, name: str) -> Model:
    return load_upstream(_entry(plan, name), plan.upstreams)


def _source(plan: SuitePlan, entry: UpstreamEntry) -> str | UpstreamAdapter:
    """Return an upstream in the form that `score` takes."""
    if entry.s3prl is not None:
        return load_baseline(entry, plan.upstreams)[0]
    return upstream_source(entry, plan.upstreams)


def _encoder_of(plan: SuitePlan, name: str) -> SpeechEncoder | UpstreamAdapter:
    """Return what is timed: an upstream, or the encoder of a Whisper model."""
    entry = _entry(plan, name)
    return load_unless_loaded(_source(plan, entry), normalize=entry.normalize)


def _device(plan: SuitePlan) -> str | None:
    return plan.device or plan.suite.device
