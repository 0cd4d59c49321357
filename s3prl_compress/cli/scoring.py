"""The output of `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..common.command_result import CommandResult
from ..common.errors import InputError
from ..common.extras import require_extra
from ..common.model_errors import first_mistake
from ..evaluation import (
    LanguageModelOptions,
    parse_seeds,
    record_path,
    score,
    score_seeds,
    score_test_sets,
)
from ..evaluation.own_head import no_language_model, nothing_to_train
from ..report.summary import score_figures, score_line, seeds_figures, seeds_lines
from ..tasks.registry import find_task


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
    scored = find_task(task)
    if not scored.trains_head:
        training = {key: options.pop(key) for key in ("engine", "recipe", "padding", "cache")}
        nothing_to_train(scored, **training, seed=seed or 0, seeds=seeds)
        options["data"] = _test_sets(options["data"])
        records = score_test_sets(model, task, output=output, **options)
        paths = [record_path(record, output) for record in records]
        figures = [score_figures(*one) for one in zip(records, paths, strict=True)]
        # One test set gives the keys that a task with a trained head gives.
        data = figures[0] if len(figures) == 1 else {"records": figures}
        written = [f"record: {path}" for path in paths]
        return CommandResult(data, "\n".join(map(score_line, records)), (*written, next_step))
    if options.pop("language_model") is not None:
        raise no_language_model(task)
    if seeds is None:
        record = score(model, task, seed=seed or 0, output=output, **options)
        path = record_path(record, output)
        return CommandResult(
            score_figures(record, path), score_line(record), (f"record: {path}", next_step)
        )
    del options["options"]
    records = score_seeds(model, task, seeds=parse_seeds(seeds), output=output, **options)
    paths = [record_path(record, output) for record in records]
    data = seeds_figures(records, paths)
    return CommandResult(data, seeds_lines(records, data), (f"records: {output}", next_step))


def language_model_options(file: str | None, **given: Any) -> LanguageModelOptions | None:
    """Return the options of a language model; None if no language model is given.

    Raises:
        InputError: options are invalid, or are given without a language model; or the extra is not
            installed.
    """
    options = {key: value for key, value in given.items() if value is not None}
    if file is None:
        if options:
            raise InputError(
                f"{', '.join(options)}: needs a language model; give its file as --lm FILE"
            )
        return None
    require_extra("lm", "decoding with a language model")
    try:
        return LanguageModelOptions(file=file, **options)
    except ValidationError as error:
        raise InputError(f"language model: {first_mistake(error)}") from error


def _test_sets(data: str) -> list[str]:
    """Return the sources in a list with commas; a path that holds a comma itself is one source."""
    if Path(data).exists():
        return [data]
    return [part.strip() for part in data.split(",") if part.strip()] or [data]
