"""Run a suite: upstreams x tasks x engines x seeds, timing and the report, from one YAML file.

Cells run in a worker process, on this machine or on a cluster; the one-pass engine trains all seeds
of an upstream on a task together. A suite that is killed and started again loses at most the
unsaved work of the cells that were running: upstreams, scores and timings that are complete in the
output folder are skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..common.command_result import CommandResult
from ..common.errors import InputError
from ..common.extras import require_extra
from ..common.files import locked, write_atomically
from ..common.validation import check_folder_output, check_threads, pick_device
from .cells import SuiteCell, cells_of, select_cells
from .cleanup import remove_temporary_files
from .cluster import run_on_cluster
from .estimate import estimate
from .groups import batches_of
from .plan import CellResult, SuitePlan, failures_without_upstream
from .suite_file import Suite, find_suite, read_suite
from .worker import Worker, last_lines, retry_alone

FAILURES_FILE = "failures.txt"
_LOG_LINES_SHOWN = 5
"""Lines of a failed cell's log that are printed; `FAILURES_FILE` has more."""


def run_suite(
    name: str | Path,
    *,
    output: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    only: str | None = None,
    dry_run: bool = False,
    cluster: str | None = None,
) -> CommandResult:
    """Run a suite and write its leaderboard; see `suite.suite_file` for the keys of the file.

    A failing cell does not stop the others; the result lists it and has exit code 1. If another
    run uses the output folder, this one waits for it, and then finds its cells complete.

    Args:
        name: path of the YAML file, or the name of a packaged suite.
        output: output folder; overrides the file.
        device: torch device; overrides the file. Default: CUDA if available, otherwise the CPU.
        threads: number of CPU threads; overrides the file.
        only: patterns that select cells, see `cells.select_cells`.
        dry_run: list the cells with an estimate of time and disk space, and run nothing.
        cluster: "slurm" to run the cells as jobs; None for this machine, one after the other.

    Raises:
        InputError: the file is invalid, or the output folder cannot be used. Nothing has been run
            or written then.
    """
    if cluster == "local":
        raise InputError(
            "--cluster local: has been removed; without --cluster, the cells run in a worker "
            "process on this machine"
        )
    if cluster not in (None, "slurm"):
        raise InputError(f"--cluster {cluster}: must be slurm")
    path = find_suite(str(name))
    suite = read_suite(path)
    plan = SuitePlan(
        suite=suite,
        output=check_folder_output(output or suite.output),
        device=device,
        threads=check_threads(threads),
        command=tuple(sys.argv),
    )
    cells = select_cells(suite, cells_of(suite), only)
    _check(suite, cells)
    if dry_run:
        return estimate(plan, cells)
    if cluster is None and (device or suite.device) is not None:
        pick_device(device or suite.device)
    with locked(plan.output / ".lock", f"running a suite in {plan.output}"):
        remove_temporary_files(plan.output)
        results = _run_here(plan, cells) if cluster is None else run_on_cluster(plan, cells)
        return _finish(plan, path, results)


def _check(suite: Suite, cells: Sequence[SuiteCell]) -> None:
    """Check methods, their settings and the tasks before any work starts."""
    from ..evaluation import load_settings
    from ..tasks.registry import find_task
    from .models import kind_of_entry
    from .own_heads import check_own_heads
    from .upstreams import check_entry

    require_extra("report", "the leaderboard of a suite")
    upstreams = {cell.upstream for cell in cells}
    for upstream in suite.upstreams:
        if upstream.name in upstreams:
            check_entry(upstream, kind_of_entry(suite.upstreams, upstream.name))
    for entry in suite.tasks:
        for engine in entry.engines if find_task(entry.task).trains_head else ():
            load_settings(entry.task, entry.recipe, engine)
            if engine == "s3prl":
                require_extra("train", "engine s3prl")
    check_own_heads(suite, cells)


def _run_here(plan: SuitePlan, cells: Sequence[SuiteCell]) -> list[tuple[SuiteCell, CellResult]]:
    """Run the cells one after the other on this machine."""
    results: list[tuple[SuiteCell, CellResult]] = []
    missing: set[str] = set()
    """Upstreams that could not be made."""
    with Worker(plan) as worker:
        for batch in batches_of(cells):
            for number, cell in enumerate(batch, len(results) + 1):
                print(f"[{number}/{len(cells)}] {cell.title}", file=sys.stderr, flush=True)
            outcomes: Iterable[CellResult] | None
            outcomes = failures_without_upstream(plan.suite, batch, missing)
            if outcomes is None:
                outcomes = retry_alone(worker, batch, worker.run_together(batch))
            for cell, result in zip(batch, outcomes, strict=True):
                if cell.kind == "upstream" and result.state == "failed":
                    missing.add(cell.upstream)
                results.append((cell, result))
                message = (
                    f"failed: {result.message}" if result.state == "failed" else result.message
                )
                if len(batch) > 1:
                    message = f"seed {cell.seed}: {message}"
                print(f"    {message} ({result.seconds:.0f} s)", file=sys.stderr, flush=True)
    return results


def _finish(
    plan: SuitePlan, path: Path, results: Sequence[tuple[SuiteCell, CellResult]]
) -> CommandResult:
    """Write the report and the list of failures, and summarize the run.

    A failed shard of features is no failure of the run: cells compute what is missing.
    """
    from ..report import report

    shards = [result for cell, result in results if cell.kind == "features"]
    results = [(cell, result) for cell, result in results if cell.kind != "features"]
    files: list[Path] = []
    failures_file = plan.output / FAILURES_FILE
    failures_file.unlink(missing_ok=True)
    if any(plan.records.glob("*.json")):
        files = report(plan.records, plan.output)
    failed = [(cell, result) for cell, result in results if result.state == "failed"]
    skipped = sum(result.state == "skipped" for _, result in results)
    lines = [
        f"{len(results) - len(failed)} of {len(results)} cells complete, "
        f"{skipped} of them from earlier runs"
    ]
    if shards:
        lost = sum(result.state == "failed" for result in shards)
        lines.append(f"features: {len(shards) - lost} of {len(shards)} jobs for shards succeeded")
        if lost:
            lines[-1] += "; cells compute what the others lack"
    next_steps = [f"open: {file}" for file in files]
    if failed:
        write_atomically(failures_file, "\n".join(_paragraph(plan, *one) for one in failed))
        for cell, result in failed:
            lines.append(f"failed: {cell.title}: {result.message}")
            # The message of invalid input is complete; crashes need the end of the log.
            if result.restart_worker:
                log = last_lines(plan.logs / f"{cell.stem}.log", _LOG_LINES_SHOWN)
                lines += [f"    {line}" for line in log]
        next_steps += [
            f"details of the failures: {failures_file}",
            f"retry the failed cells: s3prl-compress run {path}",
        ]
    else:
        complete = {cell.upstream for cell, _ in results}
        own = [one for one in plan.suite.upstreams if one.name in complete and one.s3prl is None]
        if own:
            from .upstreams import upstream_source

            source = upstream_source(own[-1], plan.upstreams)
            next_steps.append(f"next: s3prl-compress inspect {source}")
    random_upstreams = sorted({cell.upstream for cell, result in results if result.random_weights})
    if random_upstreams:
        lines.append(
            f"random weights: {', '.join(random_upstreams)}: these upstreams have learned nothing, "
            "so their scores say nothing about compression; speed and cost are real."
        )
    data = {
        "cells": len(results),
        "done_before": skipped,
        "failed": [{"cell": cell.title, "reason": result.message} for cell, result in failed],
        "files": [str(file) for file in files],
    }
    return CommandResult(data, "\n".join(lines), tuple(next_steps), 1 if failed else 0)


def _paragraph(plan: SuitePlan, cell: SuiteCell, result: CellResult) -> str:
    log = plan.logs / f"{cell.stem}.log"
    where = f"log: {log}\n" if log.is_file() else ""
    return f"{cell.title}\n{where}{result.details or result.message}\n"
