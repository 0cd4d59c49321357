"""`check`: test whether a compressed model loses less than a margin, for continuous integration."""

from __future__ import annotations

import math
from typing import Any

from ..common.command_result import CommandResult
from ..common.errors import InputError
from ..common.validation import check_folder_output, pick_device, use_threads

SEEDS = "0-9"
"""Default random seeds of the heads."""


def check(
    model: str,
    *,
    against: str,
    data: str,
    margin: float,
    task: str = "ks",
    min_score: float | None = None,
    seeds: str | None = None,
    recipe: str | None = None,
    output: str = "results",
    normalize: bool | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> CommandResult:
    """Test whether a compressed model loses less than a margin against its dense upstream.

    Both are scored with the one-pass engine and the same seeds; existing records in the output
    folder are reused. The loss is tested in both directions at a level of 5 %, with seeds and
    speakers as sources of error.

    Exit codes: 0, the loss is shown to be below the margin (and the score above the minimum, if one
    is given); 1, one of the two is shown not to hold; 3, not resolved; 2, invalid input.

    Args:
        model: checkpoint folder, transformers folder, s3prl-converted .pt file, or hub id
        against: the dense upstream, given in the same way
        data: folder of the corpus, csv table for `prepare`, or the word demo for the generated
            speech that is part of this package
        margin: largest tolerated loss in percentage points, above 0
        task: name of a task, see `ls tasks`; ctc uses the models' own CTC heads, whisper compares
            Whisper models, and both accept neither seeds nor recipe
        min_score: lowest tolerated score of MODEL in percent; for error rates the highest
        seeds: random seeds of the heads, at least two; by default 0-9
        recipe: settings of the heads' training: smoke, official, or a YAML file; by default smoke,
            or a shorter one for the demo corpus
        output: folder of result records, and of the corpus if it has to be prepared
        normalize: whether waveforms are scaled to zero mean and unit variance before the encoder;
            overrides what both models say
        device: torch device to compute on, such as cpu or cuda; by default cuda if it is available,
            otherwise cpu
        threads: number of CPU threads; by default torch's own choice
    """
    use_threads(threads)
    chosen_device, folder = pick_device(device), check_folder_output(output)
    _check_limits(margin, min_score)
    head_seeds, settings = _training(task, seeds, recipe, data)
    from ..encoder import load_unless_loaded
    from ..evaluation import score, score_seeds
    from ..report.comparison import compare
    from ..tasks.registry import find_task
    from .check_summary import EXIT_CODES, check_data, check_lines, check_next_steps

    found = find_task(task)
    trains = found.trains_head
    sources = (model, against)
    # Load both first, so that a mistake in one shows before minutes are spent on the other.
    for source in sources:
        if trains:
            load_unless_loaded(source, normalize=normalize)
        else:
            found.load_own_head().load(source, normalize=normalize)
    options: dict[str, Any] = {
        "data": data,
        "output": folder,
        "device": chosen_device,
        "normalize": normalize,
    }
    if not trains:
        own, dense = ([score(source, task, **options)] for source in sources)
    else:
        options |= {"seeds": head_seeds, "recipe": settings}
        own, dense = (score_seeds(source, task, **options) for source in sources)
    comparison = compare(own, dense, folder, margin=margin, minimum=min_score)
    return CommandResult(
        check_data(comparison, own, dense, folder),
        check_lines(comparison),
        check_next_steps(comparison, output),
        EXIT_CODES[comparison.verdict],
    )


def _check_limits(margin: float, min_score: float | None) -> None:
    if not (math.isfinite(margin) and margin > 0):
        raise InputError(f"margin {margin:g}: must be a number of points above 0")
    if min_score is not None and not 0 <= min_score <= 100:
        raise InputError(f"min-score {min_score:g}: must be a percentage, from 0 to 100")


def _training(
    task: str, seeds: str | None, recipe: str | None, data: str
) -> tuple[tuple[int, ...], str]:
    """Return the seeds and the recipe of the heads; no seeds if no head is trained."""
    from ..common.yaml_files import find_packaged
    from ..evaluation import load_settings, parse_seeds
    from ..tasks.registry import DEMO, find_task

    scored = find_task(task)
    if not scored.trains_head:
        if seeds is not None or recipe is not None:
            raise InputError(f"task {task}: no head is trained, so it takes no seeds and no recipe")
        return (), ""
    head_seeds = parse_seeds(SEEDS if seeds is None else seeds)
    if len(head_seeds) < 2:
        raise InputError(
            f"seeds {seeds}: a single seed does not show how much seeds differ, so nothing can be "
            f"tested; give at least two, such as {SEEDS}"
        )
    if recipe is None:
        recipe = "smoke"
        # Only packaged demo corpora have a packaged recipe of their own.
        if data == DEMO and scored.demo is not None and scored.recipes is None:
            recipe = str(find_packaged(f"{task}_demo", "recipe", "recipes/tasks"))
    load_settings(task, recipe, "onepass")
    return head_seeds, recipe
