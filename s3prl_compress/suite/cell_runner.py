"""`do_cells`: the work of cells, within the process that was started for it."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from filelock import FileLock

from ..common.errors import InputError
from ..common.validation import pick_device, use_threads
from ..encoder import SpeechEncoder, fingerprint
from ..encoder.adapter import UpstreamAdapter
from ..encoder.cost import parameters
from ..evaluation import record_path, score_seeds
from ..latency import time_upstreams, write_time_record
from ..tasks.registry import locate_corpus
from .baselines import make_peer
from .cells import Cell
from .plan import CellResult, Plan
from .recipe import UpstreamEntry
from .times import timed_before
from .upstreams import load_upstream, make_upstream, upstream_source


def do_cells(plan: Plan, cells: Sequence[Cell]) -> tuple[CellResult, ...]:
    """Do a cell, or those of a batch (see `groups`) together, and say how each ended.

    Whatever goes wrong comes back as the result of all of them. What is complete in the output
    folder already is found by its content and not done again.
    """
    started = time.perf_counter()
    use_threads(plan.threads or plan.suite.threads)
    details, worn = "", False
    outcomes: Sequence[_Outcome]
    try:
        outcomes = _WORK[cells[0].kind](plan, cells)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        # After anything but bad input nobody knows what is left behind, of GPU memory above all.
        worn = not isinstance(error, InputError)
        words = f"{type(error).__name__}: {reason}" if worn else reason
        details = traceback.format_exc()
        outcomes = [("failed", words, False)] * len(cells)
        if worn:
            print(details, file=sys.stderr, flush=True)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # the next cell may need another process's memory there
    seconds = time.perf_counter() - started
    return tuple(
        CellResult(
            title=cell.title,
            state=state,
            words=words,
            details=details,
            seconds=seconds / len(cells),
            random_weights=random_weights,
            # s3prl's hub changes the process that imports it.
            worn=worn or "s3prl.hub" in sys.modules,
        )
        for cell, (state, words, random_weights) in zip(cells, outcomes, strict=True)
    )


_State = Literal["done", "before", "failed"]
_Outcome = tuple[_State, str, bool]
"""State, words, and whether the weights are random."""


def _upstream(plan: Plan, cell: Cell) -> _Outcome:
    entry = _entry(plan, cell.upstream)
    if entry.s3prl is not None:
        peer, known = make_peer(entry, plan.upstreams)
        words = f"{peer.facts.cost.parameters:,} parameters, s3prl's own {entry.s3prl}"
        return _outcome(known, words, random_weights=False)
    base = None if entry.base is None else _encoder(plan, entry.base)
    encoder, kept = make_upstream(entry, base, plan.upstreams, pick_device(_device(plan)))
    random_weights = encoder.provenance.random_weights
    words = f"{parameters(encoder):,} parameters"
    if random_weights:
        words += ", of random weights"
    return _outcome(kept, words, random_weights)


def _scores(plan: Plan, cells: Sequence[Cell]) -> list[_Outcome]:
    """Score cells that differ in their seeds only."""
    cell = cells[0]
    assert cell.task is not None
    assert cell.engine is not None
    task = plan.suite.tasks[cell.task]
    entry = _entry(plan, cell.upstream)
    began = time.time()
    # Jobs of a cluster begin together, and the first one may have to prepare the corpus.
    with FileLock(plan.output / ".corpora.lock"):
        data = locate_corpus(task.task, task.data, plan.corpora)
    records = score_seeds(
        _source(plan, entry),
        task.task,
        data=data,
        output=plan.records,
        engine=cell.engine,
        recipe=task.recipe,
        seeds=[cell.seed for cell in cells if cell.seed is not None],
        device=_device(plan),
        padding=task.padding,
        name=entry.name,
        normalize=entry.normalize,
    )
    outcomes = []
    for record in records:
        before = record_path(record, plan.records).stat().st_mtime < began
        words = f"{record.score:.1f} \N{PLUS-MINUS SIGN} {record.standard_error:.1f}"
        outcomes.append(_outcome(before, words, record.upstream.random_weights))
    return outcomes


def _time(plan: Plan, cell: Cell) -> _Outcome:
    timing = plan.suite.time
    assert timing is not None
    alone = timing.against in (None, cell.upstream)
    this = _upstream_of(plan, cell.upstream)
    against = None if alone else _upstream_of(plan, str(timing.against))
    device = pick_device(_device(plan))
    record = timed_before(
        plan.records,
        fingerprint(this),
        None if against is None else fingerprint(against),
        timing,
        device,
    )
    before = record is not None
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
    words = f"RTFx {overall.rtfx:.4g}"
    if overall.speedup is not None:
        words += f", speed-up {overall.speedup:.2f}"
    return _outcome(before, words, record.upstream.random_weights)


_WORK: dict[str, Callable[[Plan, Sequence[Cell]], Sequence[_Outcome]]] = {
    "upstream": lambda plan, cells: [_upstream(plan, cells[0])],
    "score": _scores,
    "time": lambda plan, cells: [_time(plan, cells[0])],
}


def _outcome(before: bool, words: str, random_weights: bool) -> _Outcome:
    if before:
        return "before", f"{words}, done before", random_weights
    return "done", words, random_weights


def _entry(plan: Plan, name: str) -> UpstreamEntry:
    return next(entry for entry in plan.suite.upstreams if entry.name == name)


def _encoder(plan: Plan, name: str) -> SpeechEncoder:
    return load_upstream(_entry(plan, name), plan.upstreams)


def _source(plan: Plan, entry: UpstreamEntry) -> str | UpstreamAdapter:
    """Return what `score` takes for an upstream that was made."""
    if entry.s3prl is not None:
        return make_peer(entry, plan.upstreams)[0]
    return upstream_source(entry, plan.upstreams)


def _upstream_of(plan: Plan, name: str) -> SpeechEncoder | UpstreamAdapter:
    source = _source(plan, _entry(plan, name))
    return _encoder(plan, name) if isinstance(source, str) else source


def _device(plan: Plan) -> str | None:
    return plan.device or plan.suite.device
