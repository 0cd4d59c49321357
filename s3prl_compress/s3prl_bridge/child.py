"""The process of its own that s3prl's runner runs in: `python -m ...child FOLDER`.

FOLDER holds `task.json` (a `ChildTask`); `result.json` (a `ChildResult`) appears there at the
end, or `error.txt` with one line where the input was wrong. Nothing of s3prl's gets into the
process that asked: neither its changed `isinstance` nor its seeding.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from ..errors import InputError
from ..files import write_atomically
from ..reporting.records import Padding

if TYPE_CHECKING:
    from .runner import SeededRunner

_LOCK_SECONDS = 60


class ChildTask(BaseModel):
    """What the child is to do. Written by `engine.run`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, Any]
    """s3prl's experiment config."""
    classes: tuple[str, ...]
    checkpoint: str
    padding: Padding
    seed: int
    device: str
    threads: int
    test: bool
    """Evaluate the best checkpoint on the test set, too."""


class ChildResult(BaseModel):
    """What came out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    best_step: int
    dev_accuracy: float
    """Between 0 and 1, of the best checkpoint."""
    resumed_from: int
    """Step of the checkpoint that the run went on from; 0: it ran undisturbed."""
    predictions: list[tuple[str, str, str]] | None
    """(class folder/file, truth, predicted) in the test set's order; None without a test."""
    mends: tuple[str, ...]
    seconds: dict[str, float]


def main(folder: Path) -> int:
    """Run the task of a folder; return the exit status."""
    task = ChildTask.model_validate_json((folder / "task.json").read_bytes())
    if task.device == "cpu":
        # s3prl's evaluation enters torch.cuda.device(args.device) wherever there is a GPU.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(task.threads)
    try:
        # A child whose parent was killed ends at its next step: until then the folder is its own.
        with FileLock(folder / "lock", timeout=_LOCK_SECONDS):
            result = _run(task, folder)
    except Timeout:
        line = f"{folder}: another process works in this folder; wait for it, or end it"
        write_atomically(folder / "error.txt", f"{line}\n")
        return 2
    except InputError as error:
        # A reader process's error arrives with its traceback; the last line is the message.
        line = str(error).strip().splitlines()[-1].rpartition("InputError: ")[2]
        write_atomically(folder / "error.txt", f"{line}\n")
        return 2
    write_atomically(folder / "result.json", result.model_dump_json(indent=1) + "\n")
    return 0


def _run(task: ChildTask, folder: Path) -> ChildResult:
    from .mends import mend
    from .registration import register_alone

    start = time.perf_counter()
    register_alone()
    from . import keyword_spotting
    from .runner import SeededRunner, arguments, quieten

    quieten(folder / "progress")
    keyword_spotting.prepare(task.classes)
    torch.multiprocessing.set_sharing_strategy("file_system")
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    experiment = folder / "experiment"
    experiment.mkdir(exist_ok=True)
    args = arguments(
        upstream="compressed",
        checkpoint=task.checkpoint,
        padding=task.padding,
        downstream="speech_commands",
        folder=experiment,
        seed=task.seed,
        device=task.device,
    )
    args.init_ckpt = _newest_state(experiment)
    runner = SeededRunner(args, task.config)
    resumed_from, built = runner.resumed_from, time.perf_counter()
    runner.train()
    trained = time.perf_counter()
    best_step, accuracy = _load_best(runner, experiment)
    predictions = _test(runner, experiment, best_step) if task.test else None
    tested = time.perf_counter()
    return ChildResult(
        best_step=best_step,
        dev_accuracy=accuracy,
        resumed_from=resumed_from,
        predictions=predictions,
        mends=tuple(mend()),
        seconds={"start": built - start, "train": trained - built, "test": tested - trained},
    )


def _newest_state(experiment: Path) -> str | None:
    states = experiment.glob("states-*.ckpt")
    newest = max(states, key=lambda path: int(path.stem.partition("-")[2]), default=None)
    return None if newest is None else str(newest)


def _load_best(runner: SeededRunner, experiment: Path) -> tuple[int, float]:
    """Load the best checkpoint on dev into the runner; return its step and its accuracy."""
    best = experiment / "dev-best.ckpt"
    if not best.is_file():
        # s3prl keeps a best only above an accuracy of zero.
        newest = _newest_state(experiment)
        if newest is None:
            raise RuntimeError(f"{experiment}: s3prl left no checkpoint")
        return runner.load_head(Path(newest)), 0.0
    step = runner.load_head(best)
    return step, float(runner.downstream.model.best_score)


def _test(runner: SeededRunner, experiment: Path, step: int) -> list[tuple[str, str, str]]:
    """Evaluate on test; s3prl writes what was predicted, in the order of its test set."""
    from .runner import Recorder

    runner.evaluate("test", Recorder(str(experiment)), step)
    files = ["/".join(path.parts[-2:]) for _, path in runner.downstream.model.test_dataset.data]
    truth = _column(experiment / "test_truth.txt")
    predicted = _column(experiment / "test_predict.txt")
    if not len(files) == len(truth) == len(predicted):
        raise RuntimeError(f"{experiment}: s3prl predicted {len(predicted)} of {len(files)} files")
    return list(zip(files, truth, predicted, strict=True))


def _column(path: Path) -> list[str]:
    # The first column, "<folder>-<file>", may hold blanks; classes have none.
    return [line.rpartition(" ")[2] for line in path.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
