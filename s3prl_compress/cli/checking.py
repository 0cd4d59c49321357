"""`check`: whether a compressed model loses less than a margin; for continuous integration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..common.command_result import CommandResult
from ..common.errors import InputError
from ..common.validation import check_folder_output, pick_device, use_threads

SEEDS = "0-9"


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
    """Test whether a model loses less than a margin against its dense upstream.

    Both are scored on the one-pass engine with the same seeds; finished scores in the output are
    reused. The loss is tested on both sides at 5 %, with seeds and speakers as sources of error.

    Exit codes: 0, the loss is shown to be below the margin (and the score to be above the minimum);
    1, one of the two is shown not to hold; 3, not resolved; 2, invalid input.

    Args:
        model: a folder of ours, a transformers folder, an s3prl .pt, or a hub id
        against: the dense upstream, named in the same ways
        data: folder of the corpus, csv table for `prepare`, or the word demo for the generated
            speech that comes with this package
        margin: largest loss that is tolerated, in points, above 0
        task: name of a task, see `ls tasks`; or ctc for the model's own CTC head, which takes no
            seeds and no recipe
        min_score: lowest score of MODEL that is tolerated, in percent; of error rates the highest
        seeds: at least two, such as 0-9 (the default)
        recipe: smoke, official, or a YAML file; by default smoke, on the demo corpus a shorter one
        output: folder of records, to which the corpus is added where it must be prepared
        normalize: yes or no: whether waveforms are normalised first, in place of what both
            checkpoints say
        device: where it is computed; cuda where there is one, else cpu
        threads: number of CPU threads
    """
    use_threads(threads)
    place, folder = pick_device(device), check_folder_output(output)
    _check_limits(margin, min_score)
    several, settings = _training(task, seeds, recipe, data)
    from ..encoder import load
    from ..evaluation import score, score_seeds
    from ..evaluation.ctc import needs_head
    from ..report.comparison import compare
    from .check_summary import EXIT_CODES, check_figures, check_hints, check_lines

    sources = (model, against)
    for source in sources:  # before minutes are spent on the other one
        encoder = load(source, normalize=normalize)
        if task == "ctc":
            needs_head(encoder, source)
    corpus = _corpus(task, data, folder / "corpora")
    same: dict[str, Any] = {
        "data": corpus,
        "output": folder,
        "device": place,
        "normalize": normalize,
    }
    if task == "ctc":
        found = [[score(source, task, **same)] for source in sources]
    else:
        same |= {"seeds": several, "recipe": settings}
        found = [score_seeds(source, task, **same) for source in sources]
    comparison = compare(found[0], found[1], folder, margin=margin, minimum=min_score)
    return CommandResult(
        check_figures(comparison, found[0], found[1], folder),
        check_lines(comparison),
        check_hints(comparison, output),
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
    """Return the seeds and the recipe of the heads; no seeds where none is trained."""
    from ..common.yaml_files import find_packaged
    from ..evaluation import load_settings, parse_seeds
    from ..tasks.registry import DEMO, find_task

    if task == "ctc":
        if seeds is not None or recipe is not None:
            raise InputError("task ctc: nothing is trained, so it takes no seeds and no recipe")
        return (), ""
    several = parse_seeds(SEEDS if seeds is None else seeds)
    if len(several) < 2:
        raise InputError(
            f"seeds {seeds}: a single seed cannot be tested, since it does not show how much seeds "
            f"differ; give at least two, such as {SEEDS}"
        )
    if recipe is None:
        recipe = "smoke"
        scored = find_task(task)
        # Only packaged demo corpora have a packaged recipe of their own.
        if data == DEMO and scored.demo is not None and scored.recipes is None:
            recipe = str(find_packaged(f"{task}_demo", "recipe", "recipes/tasks"))
    load_settings(task, recipe, "onepass")
    return several, recipe


def _corpus(task: str, data: str, below: Path) -> str | Path:
    from ..tasks.registry import DEMO, locate_corpus

    if task != "ctc":
        return locate_corpus(task, data, below)
    return locate_corpus("asr", data, below) if data == DEMO else data
