"""`run_suite`: upstreams x tasks x engines x seeds, timing and the report, from one YAML file.

Every cell is done in another process than this one, here or on a cluster; the one-pass engine's
seeds of an upstream on a task together. Killed at any moment and started again, a suite loses at
most what the cells that it was in had not written: an upstream, a score or a time that is complete
in the output folder is not made again.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from ..common.command_result import CommandResult
from ..common.errors import InputError
from ..common.files import write_atomically
from ..common.validation import check_folder_output, check_threads, pick_device
from .cells import Cell, cells_of, select
from .cleanup import remove_leftovers
from .cluster import Cluster, run_on_cluster
from .estimate import estimate
from .groups import batches_of
from .plan import CellResult, Plan, without_upstream
from .recipe import Suite, find_suite, read_suite
from .worker import Worker, each_alone, last_lines

FAILURES_FILE = "failures.txt"
_SHOWN = 5
"""Lines of a failed cell's log on the terminal; the file has more."""


def run_suite(
    name: str | Path,
    *,
    output: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    only: str | None = None,
    dry_run: bool = False,
    cluster: Cluster | None = None,
) -> CommandResult:
    """Run a suite and write its leaderboard; see `suite.recipe` for the file's keys.

    A failing cell does not stop the others: the answer lists it, and its exit code is 1.

    Args:
        name: YAML file, or the name of a packaged one.
        output: in place of the file's.
        device: in place of the file's; cuda where there is one, else the CPU.
        threads: CPU threads, in place of the file's.
        only: patterns of cells, see `cells.select`.
        dry_run: only say what there is to do, and what it will take.
        cluster: where the cells are done; None for here, one after the other.

    Raises:
        InputError: the file is wrong, the output is in the way, or another run is at work in it;
            nothing was done then.
    """
    path = find_suite(str(name))
    suite = read_suite(path)
    plan = Plan(
        suite=suite,
        output=check_folder_output(output or suite.output),
        device=device,
        threads=check_threads(threads),
        command=tuple(sys.argv),
    )
    cells = select(suite, cells_of(suite), only)
    _check(suite, {cell.upstream for cell in cells})
    if dry_run:
        return estimate(plan, cells)
    if cluster is None and (device or suite.device) is not None:
        pick_device(device or suite.device)
    plan.output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(plan.output / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{plan.output}: another run is at work in it; wait for it, or end it"
        ) from None
    with lock:
        remove_leftovers(plan.output)
        results = _here(plan, cells) if cluster is None else run_on_cluster(plan, cells, cluster)
        return _finish(plan, path, results)


def _check(suite: Suite, upstreams: Container[str]) -> None:
    """Find mistakes in recipes, methods and their settings before any work starts."""
    from ..evaluation import load_settings
    from ..tasks.registry import find_task
    from .upstreams import check_entry

    for upstream in suite.upstreams:
        if upstream.name in upstreams:
            check_entry(upstream)
    for entry in suite.tasks:
        find_task(entry.task)
        for engine in entry.engines:
            load_settings(entry.task, entry.recipe, engine)


def _here(plan: Plan, cells: Sequence[Cell]) -> list[tuple[Cell, CellResult]]:
    """Do the cells one after the other on this machine."""
    results: list[tuple[Cell, CellResult]] = []
    missing: set[str] = set()
    with Worker(plan) as worker:
        for batch in batches_of(cells):
            for number, cell in enumerate(batch, len(results) + 1):
                print(f"[{number}/{len(cells)}] {cell.title}", file=sys.stderr, flush=True)
            found: Iterable[CellResult] | None = without_upstream(plan.suite, batch, missing)
            if found is None:
                found = each_alone(worker, batch, worker.do_together(batch))
            for cell, result in zip(batch, found, strict=True):
                if cell.kind == "upstream" and result.state == "failed":
                    missing.add(cell.upstream)
                results.append((cell, result))
                words = f"failed: {result.words}" if result.state == "failed" else result.words
                if len(batch) > 1:
                    words = f"seed {cell.seed}: {words}"
                print(f"    {words} ({result.seconds:.0f} s)", file=sys.stderr, flush=True)
    return results


def _finish(plan: Plan, path: Path, results: Sequence[tuple[Cell, CellResult]]) -> CommandResult:
    """Write the report and the list of failures."""
    from ..report import report

    files: list[Path] = []
    listed = plan.output / FAILURES_FILE
    listed.unlink(missing_ok=True)
    if any(plan.records.glob("*.json")):
        files = report(plan.records, plan.output)
    failed = [(cell, result) for cell, result in results if result.state == "failed"]
    before = sum(result.state == "before" for _, result in results)
    lines = [f"{len(results) - len(failed)} of {len(results)} cells done, {before} of them before"]
    hints = [f"open: {file}" for file in files]
    if failed:
        write_atomically(listed, "\n".join(_paragraph(plan, *one) for one in failed))
        for cell, result in failed:
            lines.append(f"failed: {cell.title}: {result.words}")
            # Bad input says all there is to say in its one line.
            log = last_lines(plan.logs / f"{cell.stem}.log", _SHOWN) if result.worn else []
            lines += [f"    {line}" for line in log]
        hints += [
            f"more of their logs: {listed}",
            f"to try again what failed: s3prl-compress run {path}",
        ]
    else:
        done = {cell.upstream for cell, _ in results}
        own = [one for one in plan.suite.upstreams if one.name in done and one.s3prl is None]
        if own:
            from .upstreams import upstream_source

            source = upstream_source(own[-1], plan.upstreams)
            hints.append(f"next, a look at {own[-1].name}: s3prl-compress inspect {source}")
    drawn = sorted({cell.upstream for cell, result in results if result.random_weights})
    if drawn:
        lines.append(
            f"random weights: {', '.join(drawn)}: nothing was learned there, so the scores say "
            "nothing about compression; speed and cost are real."
        )
    figures = {
        "cells": len(results),
        "done_before": before,
        "failed": [{"cell": cell.title, "reason": result.words} for cell, result in failed],
        "files": [str(file) for file in files],
    }
    return CommandResult(figures, "\n".join(lines), tuple(hints), 1 if failed else 0)


def _paragraph(plan: Plan, cell: Cell, result: CellResult) -> str:
    log = plan.logs / f"{cell.stem}.log"
    where = f"log: {log}\n" if log.is_file() else ""
    return f"{cell.title}\n{where}{result.details or result.words}\n"
