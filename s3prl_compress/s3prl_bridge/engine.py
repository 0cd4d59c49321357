"""The engine `s3prl`: the official runner, in a child process for each learning rate.

A child's folder below `job.work` keeps s3prl's own files (log.log, checkpoints, predictions), so
that a killed run goes on from its last evaluation and a finished one is not run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from tqdm import tqdm

from ..encoder import fingerprint, save
from ..errors import InputError
from ..files import write_atomically
from ..reporting.records import RateResult
from ..scoring.corpora.keywords import KeywordCorpus
from ..scoring.engine import EngineResult, Job
from .child import ChildResult, ChildTask
from .config import keyword_config

_LAST_LINES = 15

NOTES = (
    "s3prl's own runner; the checkpoint best on dev is tested once.",
    "Files are listed in sorted order, where s3prl takes the file system's; audio is read by "
    "soundfile and torch in place of libsox (equal to 6e-8).",
    "The head is initialised from the seed after everything is built, and training's random draws "
    "are not reset by evaluations, as s3prl's would be.",
)
"""What a reader must know of every score of this engine."""


def run(job: Job) -> EngineResult:
    """Train and test with s3prl's runner; see `RunJob`.

    Every learning rate is trained; the one with the best dev accuracy is tested. Raises
    `InputError` for what the user can mend, `RuntimeError` with the end of the child's log for
    the rest.
    """
    runs = _plan(job)
    alone = len(runs) == 1
    results = [_child(run, job, test=alone) for run in runs]
    best = max(range(len(runs)), key=lambda index: results[index].dev_accuracy)
    if not alone:
        results[best] = _child(runs[best], job, test=True)
    stages = ("start", "train", "test")
    seconds = {stage: sum(result.seconds[stage] for result in results) for stage in stages}
    return EngineResult(
        predictions=_predictions(job, results[best]),
        rates=tuple(
            RateResult(
                learning_rate=run.learning_rate,
                dev_score=100 * result.dev_accuracy,
                best_step=result.best_step,
            )
            for run, result in zip(runs, results, strict=True)
        ),
        learning_rate=runs[best].learning_rate,
        dev_score=100 * results[best].dev_accuracy,
        approximate=False,
        notes=_notes(job, runs, results),
        seconds=seconds,
    )


@dataclass(frozen=True)
class _Run:
    """One learning rate's child."""

    learning_rate: float
    folder: Path
    task: ChildTask


def _plan(job: Job) -> list[_Run]:
    """Prepare a folder for each learning rate; empty those that held another run."""
    job.work.mkdir(parents=True, exist_ok=True)
    checkpoint = job.checkpoint
    if checkpoint is None:
        checkpoint = job.work / "checkpoint"
        save(job.encoder, checkpoint)
    identity = {
        "encoder": fingerprint(job.encoder),
        "corpus": job.corpus.fingerprint(),
        "settings": job.settings.identity(),
        "seed": job.seed,
        "padding": job.padding,
    }
    corpus = job.corpus
    assert isinstance(corpus, KeywordCorpus)
    runs = []
    for rate in job.settings.learning_rates:
        folder = (job.work / f"learning_rate_{rate:g}").resolve()
        text = json.dumps(identity | {"learning_rate": rate}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        marker = folder / "identity"
        if folder.exists() and not (marker.is_file() and marker.read_text() == digest):
            shutil.rmtree(folder)
        write_atomically(marker, digest)
        config = keyword_config(
            job.settings, corpus.train_root.resolve(), corpus.test_root.resolve(), rate
        )
        task = ChildTask(
            config=config,
            classes=corpus.classes,
            checkpoint=str(checkpoint.resolve()),
            padding=job.padding,
            seed=job.seed,
            device=job.device,
            threads=torch.get_num_threads(),
            test=False,
        )
        runs.append(_Run(learning_rate=rate, folder=folder, task=task))
    return runs


def _child(run: _Run, job: Job, *, test: bool) -> ChildResult:
    """Return the result that lies in the folder, or start a process that makes it."""
    found = _read_result(run.folder / "result.json")
    if found is not None and (found.predictions is not None or not test):
        return found
    task = run.task.model_copy(update={"test": test})
    write_atomically(run.folder / "task.json", task.model_dump_json(indent=1) + "\n")
    (run.folder / "error.txt").unlink(missing_ok=True)
    log = run.folder / "child.log"
    command = [sys.executable, "-m", "s3prl_compress.s3prl_bridge.child", str(run.folder)]
    # Threads that spin while they wait slow small steps down on a busy machine.
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            _watch(process, run, job.settings.total_steps)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    result = _read_result(run.folder / "result.json")
    if process.returncode != 0 or result is None:
        raise _failure(run.folder, log, process.returncode)
    if found is not None:
        # The second child only tested: what the first one says of its training stands.
        seconds = {stage: result.seconds[stage] + found.seconds[stage] for stage in found.seconds}
        result = result.model_copy(update={"resumed_from": found.resumed_from, "seconds": seconds})
        write_atomically(run.folder / "result.json", result.model_dump_json(indent=1) + "\n")
    return result


def _watch(process: subprocess.Popen[bytes], run: _Run, total: int) -> None:
    """Show one bar until the child ends."""
    progress = run.folder / "progress"
    name = f"s3prl, learning rate {run.learning_rate:g}"
    with tqdm(total=total, desc=name, unit="step", file=sys.stderr, delay=1) as bar:
        while True:
            try:
                process.wait(timeout=0.3)
                return
            except subprocess.TimeoutExpired:
                text = progress.read_text() if progress.is_file() else ""
                if text.isdigit():
                    bar.update(int(text) - bar.n)


def _failure(folder: Path, log: Path, status: int) -> Exception:
    message = folder / "error.txt"
    if message.is_file():
        return InputError(message.read_text("utf-8").strip())
    lines = log.read_text("utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    ending = f"signal {-status}" if status < 0 else f"status {status}"
    return RuntimeError(
        f"s3prl's runner ended with {ending}; the end of {log}:\n" + "\n".join(lines)
    )


def _read_result(path: Path) -> ChildResult | None:
    try:
        return ChildResult.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _predictions(job: Job, result: ChildResult) -> list[tuple[str, str, str]]:
    """Check s3prl's test set against the corpus, file by file."""
    found = {file: (truth, predicted) for file, truth, predicted in result.predictions or []}
    wanted = {job.corpus.utterance_name(item): item.label for item in job.corpus.items("test")}
    if {file: truth for file, (truth, _) in found.items()} != wanted:
        raise RuntimeError(
            f"s3prl's test set ({len(found)} files) is not that of {job.corpus.root} "
            f"({len(wanted)} files): did the folder change during the run?"
        )
    return [(file, truth, found[file][1]) for file, truth in wanted.items()]


def _notes(job: Job, runs: list[_Run], results: list[ChildResult]) -> tuple[str, ...]:
    notes = list(NOTES)
    if job.corpus.variant != "official":
        notes.append(
            f"Declared variant of the task: the classes are {', '.join(job.corpus.classes)}; "
            "no silence, no unknown words."
        )
    if job.settings.num_workers:
        notes.append(
            f"{job.settings.num_workers} reader processes: they draw the crops of silence, so "
            "another number gives another run."
        )
    for run, result in zip(runs, results, strict=True):
        if result.resumed_from:
            notes.append(
                f"Learning rate {run.learning_rate:g} was resumed at step {result.resumed_from}: "
                "s3prl's checkpoints hold no state of the random generators, so an undisturbed "
                "run would have ended elsewhere."
            )
    if job.settings.total_steps % job.settings.eval_step:
        notes.append("Steps after the last evaluation count for nothing.")
    return tuple(notes)
