"""The output of `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common.command_result import CommandResult
from ..common.errors import InputError
from ..evaluation import parse_seeds, record_path, score, score_seeds
from ..report.summary import score_figures, score_line, seeds_figures, seeds_lines


def score_and_summarize(
    model: str, task: str, seed: int | None, seeds: str | None, *, output: Path, **options: Any
) -> CommandResult:
    """Score an encoder with one seed (0 by default) or several ("0-9") and summarize the result.

    Args:
        model: a source that `load` accepts.
        task: name of a task.
        seed: random seed of the head.
        seeds: several seeds, as a list of numbers and ranges.
        output: folder of result records.
        options: further arguments of `score` and `score_seeds`.

    Raises:
        InputError: both `seed` and `seeds` are given, or an argument is invalid.
    """
    if seed is not None and seeds is not None:
        raise InputError("--seed and --seeds: give only one of them")
    next_step = f"next: s3prl-compress report {output}"
    if seeds is None:
        record = score(model, task, seed=seed or 0, output=output, **options)
        path = record_path(record, output)
        return CommandResult(
            score_figures(record, path), score_line(record), (f"record: {path}", next_step)
        )
    records = score_seeds(model, task, seeds=parse_seeds(seeds), output=output, **options)
    paths = [record_path(record, output) for record in records]
    data = seeds_figures(records, paths)
    return CommandResult(data, seeds_lines(records, data), (f"records: {output}", next_step))
