"""`run_suite`: upstreams x tasks x engines x seeds, timing and the report, from one YAML file.

Killed at any moment and started again, it loses at most the cell it was in: an upstream, a score
or a time that is complete in the output folder is not made again.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

from ..commands.console import Answer
from ..encoder import SpeechEncoder, fingerprint
from ..encoder.cost import parameters
from ..errors import InputError
from ..files import write_atomically
from ..outputs import check_folder_output, pick_device, use_threads
from ..reporting import report
from ..reporting.records import Engine, TimeRecord, environment, read_record
from ..scoring import load_settings, record_path, score
from ..scoring.corpora import locate_corpus
from ..scoring.task import find_task
from ..timing import time_upstreams, write_time_record
from .recipe import Suite, TaskEntry, TimeEntry, UpstreamEntry, find_suite, read_suite
from .upstreams import make_upstream, upstream_source

FAILURES_FILE = "failures.txt"


@dataclass
class _Run:
    """A suite on its way."""

    suite: Suite
    output: Path
    device: str
    encoders: dict[str, SpeechEncoder] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    """(cell, reason in one line, traceback)."""
    done_before: int = 0

    @property
    def upstreams(self) -> Path:
        return self.output / "upstreams"

    @property
    def records(self) -> Path:
        return self.output / "records"


@dataclass(frozen=True)
class _Cell:
    """One step: what it is called, and what it does. The latter returns a few words."""

    title: str
    work: Callable[[], str]


def run_suite(
    name: str | Path,
    *,
    output: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Answer:
    """Run a suite and write its leaderboard; see `suite.recipe` for the file's keys.

    A failing cell does not stop the others: the answer lists it, and its exit code is 1.

    Args:
        name: YAML file, or the name of a packaged one.
        output: in place of the file's.
        device: in place of the file's; cuda where there is one, else the CPU.
        threads: CPU threads, in place of the file's.

    Raises:
        InputError: the file is wrong, or the output is in the way; nothing was done then.
    """
    path = find_suite(str(name))
    suite = read_suite(path)
    _check(suite)
    use_threads(threads or suite.threads)
    place = pick_device(device or suite.device)
    run = _Run(suite, check_folder_output(output or suite.output), place)
    cells = _cells(run)
    for number, cell in enumerate(cells, 1):
        _do(run, cell, f"[{number}/{len(cells)}] {cell.title}")
    return _finish(run, path, len(cells))


def _check(suite: Suite) -> None:
    """Find mistakes in the tasks' recipes before any work starts."""
    for entry in suite.tasks:
        find_task(entry.task)
        for engine in entry.engines:
            load_settings(entry.task, entry.recipe, engine)


def _cells(run: _Run) -> list[_Cell]:
    suite = run.suite
    cells = [_Cell(f"upstream {e.name}", partial(_upstream, run, e)) for e in suite.upstreams]
    for task, seed in product(suite.tasks, suite.seeds):
        for engine, entry in product(task.engines, suite.upstreams):
            title = f"{task.task} {entry.name}, {engine}, seed {seed}"
            cells.append(_Cell(title, partial(_score, run, entry, task, engine, seed)))
    if suite.time is not None:
        timed = [e for e in suite.upstreams if e.name != suite.time.against]
        for entry in timed or suite.upstreams:
            cells.append(_Cell(f"time {entry.name}", partial(_time, run, entry, suite.time)))
    return cells


def _do(run: _Run, cell: _Cell, line: str) -> None:
    """Do one cell; whatever goes wrong in it is kept for the end."""
    print(line, file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        words = cell.work()
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not isinstance(error, InputError):
            reason = f"{type(error).__name__}: {reason}"
        run.failures.append((cell.title, reason, traceback.format_exc()))
        words = f"failed: {reason}"
    print(f"    {words} ({time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True)


def _upstream(run: _Run, entry: UpstreamEntry) -> str:
    if entry.base is not None:
        _encoder(run, entry.base)
    encoder, kept = make_upstream(entry, run.encoders, run.upstreams, run.device)
    run.encoders[entry.name] = encoder
    run.done_before += kept
    words = f"{parameters(encoder):,} parameters"
    if encoder.provenance.random_weights:
        words += ", of random weights"
    return f"{words}, done before" if kept else words


def _encoder(run: _Run, name: str) -> SpeechEncoder:
    if name not in run.encoders:
        raise InputError(f"upstream {name} could not be made")
    return run.encoders[name]


def _score(run: _Run, entry: UpstreamEntry, task: TaskEntry, engine: Engine, seed: int) -> str:
    _encoder(run, entry.name)
    data = locate_corpus(task.data, run.output / "corpora")
    began = time.time()
    record = score(
        upstream_source(entry, run.upstreams),
        task.task,
        data=data,
        output=run.records,
        engine=engine,
        recipe=task.recipe,
        seed=seed,
        device=run.device,
        padding=task.padding,
        name=entry.name,
    )
    before = record_path(record, run.records).stat().st_mtime < began
    run.done_before += before
    words = f"{record.score:.1f} \N{PLUS-MINUS SIGN} {record.standard_error:.1f}"
    return f"{words}, done before" if before else words


def _time(run: _Run, entry: UpstreamEntry, timing: TimeEntry) -> str:
    this = _encoder(run, entry.name)
    alone = timing.against in (None, entry.name)
    against = None if alone else _encoder(run, str(timing.against))
    record = _timed_before(run, this, against, timing)
    before = record is not None
    run.done_before += before
    if record is None:
        record = time_upstreams(
            this,
            against,
            name=entry.name,
            against_name=None if alone else timing.against,
            repeats=timing.repeats,
            warmup=timing.warmup,
            threads=timing.threads,
            dtype=timing.dtype,
            device=run.device,
            batch_size=timing.batch_size,
            utterances_per_bucket=timing.utterances_per_bucket,
        )
        write_time_record(record, run.records)
    overall = next(bucket for bucket in record.buckets if bucket.name == "all")
    words = f"RTFx {overall.rtfx:.4g}"
    if overall.speedup is not None:
        words += f", speed-up {overall.speedup:.2f}"
    return f"{words}, done before" if before else words


def _timed_before(
    run: _Run, this: SpeechEncoder, against: SpeechEncoder | None, timing: TimeEntry
) -> TimeRecord | None:
    """Return the record of this very comparison on this machine, if there is one."""
    wanted = (
        fingerprint(this),
        None if against is None else fingerprint(against),
        timing.dtype,
        *(timing.repeats, timing.warmup, timing.batch_size),
    )
    here = environment(run.device)
    for path in sorted(run.records.glob("time-*.json")):
        try:
            record = read_record(path)
        except InputError:
            continue  # the report names a broken record
        if not isinstance(record, TimeRecord):
            continue
        other, settings = record.against, record.settings
        found = (
            record.upstream.checkpoint_sha256,
            None if other is None else other.checkpoint_sha256,
            record.dtype,
            *(settings.get(key) for key in ("repeats", "warmup", "batch_size")),
        )
        utterances = len(settings.get("lengths", ())) // 4
        there = record.environment
        if (
            found == wanted
            and utterances == (timing.utterances_per_bucket or 8)
            and (there.machine, there.device) == (here.machine, here.device)
            and there.threads == (timing.threads or here.threads)
            and there.packages.get("torch") == here.packages.get("torch")
        ):
            return record
    return None


def _finish(run: _Run, path: Path, cells: int) -> Answer:
    """Write the report and the list of failures."""
    paths: list[Path] = []
    listed = run.output / FAILURES_FILE
    listed.unlink(missing_ok=True)
    if any(run.records.glob("*.json")):
        paths = report(run.records, run.output)
    lines = [f"{cells - len(run.failures)} of {cells} cells done, {run.done_before} of them before"]
    hints = [f"open: {file}" for file in paths]
    if run.failures:
        text = "\n".join(f"{title}\n{trace}" for title, _, trace in run.failures)
        write_atomically(listed, text)
        lines += [f"failed: {title}: {reason}" for title, reason, _ in run.failures]
        hints += [f"tracebacks: {listed}", f"to try again what failed: s3prl-compress run {path}"]
    elif run.suite.upstreams:
        name = run.suite.upstreams[-1].name
        source = upstream_source(run.suite.upstreams[-1], run.upstreams)
        hints.append(f"next, a look at {name}: s3prl-compress inspect {source}")
    if any(encoder.provenance.random_weights for encoder in run.encoders.values()):
        lines.append(
            "The weights are random: nothing was learned, so the scores say nothing about "
            "compression; speed and cost are real."
        )
    figures = {
        "cells": cells,
        "done_before": run.done_before,
        "failed": [{"cell": title, "reason": reason} for title, reason, _ in run.failures],
        "files": [str(file) for file in paths],
    }
    return Answer(figures, "\n".join(lines), tuple(hints), 1 if run.failures else 0)
