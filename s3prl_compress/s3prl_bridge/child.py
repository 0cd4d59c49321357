"""The child process in which s3prl's runner runs: `python -m ...child FOLDER PARENT`.

FOLDER holds `task.json` (a `ChildTask`); `result.json` (a `ChildResult`) appears there when it has
trained, and again when it has tested, or `error.txt` with one line where the input was wrong.
Nothing of s3prl's gets into the process that asked: neither its changed `isinstance` nor its
seeding. PARENT is that process's id: this one ends with it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from ..common.errors import InputError
from ..common.files import write_atomically
from ..common.precision import full_precision
from ..common.termination import stop_once
from ..results.records import Padding
from .parent_watchdog import end_with_parent
from .workers import fork_workers, last_line

if TYPE_CHECKING:
    from .downstream import Downstream
    from .runner import SeededRunner

_LOCK_SECONDS = 60
_RESUMED_FILE = "resumed_from"


class ChildTask(BaseModel):
    """The child's task, written by `engine.run`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    """Name of the task, for messages."""
    downstream: str
    """Class of the task's adapter, as "module:attribute"; see `Downstream`."""
    config: dict[str, Any]
    """s3prl's experiment config."""
    classes: tuple[str, ...]
    upstream: str = "compressed"
    """Name in s3prl's hub."""
    checkpoint: str | None
    """Ours: a folder; None for an upstream that needs none."""
    padding: Padding
    seed: int
    device: str
    threads: int
    test: bool
    """Evaluate the best checkpoint on the test set, too."""


class ChildResult(BaseModel):
    """The result of a child."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    best_step: int
    dev_score: float
    """In percent, of the best checkpoint."""
    resumed_from: int
    """Step of the first checkpoint from which training was resumed; 0: it ran undisturbed."""
    predictions: list[tuple[str, str, str]] | None
    """Path of the recording, truth, predicted, in s3prl's order; None without a test."""
    mends: tuple[str, ...]
    """Names of the patches that were applied (see `compat`)."""
    seconds: dict[str, float]


def main(folder: Path) -> int:
    """Run the task of a folder; return the exit status."""
    task = ChildTask.model_validate_json((folder / "task.json").read_bytes())
    if task.device == "cpu":
        # s3prl's evaluation enters torch.cuda.device(args.device) wherever there is a GPU.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(task.threads)
    fork_workers()
    try:
        # A child whose parent was killed ends a moment later: until then the folder is its own.
        with FileLock(folder / "lock", timeout=_LOCK_SECONDS), full_precision():
            _run(task, folder)
    except Timeout:
        line = f"{folder}: another process works in this folder; wait for it, or end it"
        write_atomically(folder / "error.txt", f"{line}\n")
        return 2
    except InputError as error:
        write_atomically(folder / "error.txt", f"{last_line(error)}\n")
        return 2
    return 0


def read_result(folder: Path) -> ChildResult | None:
    """Return the result of a child that ended well in this folder, or None."""
    try:
        return ChildResult.model_validate_json((folder / "result.json").read_bytes())
    except (OSError, ValidationError):
        return None


def _write_result(folder: Path, result: ChildResult) -> None:
    write_atomically(folder / "result.json", result.model_dump_json(indent=1) + "\n")


def _run(task: ChildTask, folder: Path) -> None:
    """Train unless that is done, then test if asked to; each result is written at once."""
    from .registration import register_alone

    start = time.perf_counter()
    register_alone()
    downstream: Downstream = resolve_name(task.downstream)()
    experiment = folder / "experiment"
    experiment.mkdir(exist_ok=True)
    best = _best(downstream, experiment)
    result = read_result(folder) if best is not None else None
    start_from = best if result is not None else _newest_state(experiment)
    runner = _build(task, downstream, folder, start_from)
    started = time.perf_counter() - start
    if result is None:
        result = _train(runner, downstream, folder)
        result.seconds["start"] = started
        _write_result(folder, result)
        _remove_states(experiment, downstream)
    else:
        result.seconds["start"] += started
    if task.test:
        start = time.perf_counter()
        records = runner.test(downstream.test_split, result.best_step)
        predictions = downstream.predictions(runner.downstream.model, records)
        result.seconds["test"] += time.perf_counter() - start
        _write_result(folder, result.model_copy(update={"predictions": predictions}))


def _train(runner: SeededRunner, downstream: Downstream, folder: Path) -> ChildResult:
    """Train, and load the checkpoint that is best on dev into the runner."""
    from .compat import apply_patches

    resumed_from = _first_resumption(folder, runner.step, runner.total_steps)
    start = time.perf_counter()
    runner.train()
    best_step, dev_score = _load_best(runner, downstream, folder / "experiment")
    return ChildResult(
        best_step=best_step,
        dev_score=dev_score,
        resumed_from=resumed_from,
        predictions=None,
        mends=tuple(apply_patches()),
        seconds={"start": 0.0, "train": time.perf_counter() - start, "test": 0.0},
    )


def _build(
    task: ChildTask, downstream: Downstream, folder: Path, checkpoint: Path | None
) -> SeededRunner:
    """Build s3prl's runner, with the weights of one of its checkpoints."""
    from .runner import SeededRunner, arguments, quieten

    quieten(folder / "progress")
    downstream.prepare(task.classes)
    torch.multiprocessing.set_sharing_strategy("file_system")
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    args = arguments(
        upstream=task.upstream,
        checkpoint=task.checkpoint,
        # s3prl's own upstreams know one padding, and take something else by this name.
        padding=task.padding if task.upstream == "compressed" else None,
        downstream=downstream.name,
        folder=folder / "experiment",
        seed=task.seed,
        device=task.device,
    )
    args.init_ckpt = None if checkpoint is None else str(checkpoint)
    return SeededRunner(args, task.config)


def _newest_state(experiment: Path) -> Path | None:
    states = experiment.glob("states-*.ckpt")
    return max(states, key=lambda path: int(path.stem.partition("-")[2]), default=None)


def _best(downstream: Downstream, experiment: Path) -> Path | None:
    """Return the best checkpoint on dev, or the newest: s3prl keeps no best at its worst score."""
    best = experiment / downstream.best_file
    return best if best.is_file() else _newest_state(experiment)


def _load_best(runner: SeededRunner, downstream: Downstream, experiment: Path) -> tuple[int, float]:
    """Load the best checkpoint into the runner; return its step and its dev score in percent."""
    path = _best(downstream, experiment)
    if path is None:
        raise RuntimeError(f"{experiment}: s3prl left no checkpoint")
    step = runner.load_head(path)
    if path.name != downstream.best_file:
        return step, downstream.worst
    # s3prl keeps it in float32: what lies beyond is no digit of the score.
    return step, round(downstream.percent * float(runner.downstream.model.best_score), 4)


def _first_resumption(folder: Path, step: int, total_steps: int) -> int:
    """Return the step at which training was first resumed; 0 where it never was.

    It is kept in a file: a run can be killed again, and then be resumed where no training is left.
    """
    file = folder / _RESUMED_FILE
    if not file.is_file() and 0 < step < total_steps:
        write_atomically(file, str(step))
    return int(file.read_text()) if file.is_file() else 0


def _remove_states(experiment: Path, downstream: Downstream) -> None:
    """Remove the state that only training needs: one of ASR at full size takes 505 MB."""
    if (experiment / downstream.best_file).is_file():
        for path in experiment.glob("states-*.ckpt"):
            path.unlink()


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    stop_once()
    try:
        raise SystemExit(main(Path(sys.argv[1])))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
