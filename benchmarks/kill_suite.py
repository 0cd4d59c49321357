"""Kill a suite at random moments by SIGKILL, again and again, and check that nothing is lost.

    python benchmarks/kill_suite.py --kills 20 --output out/kill_suite.json

A small suite (random weights, the packaged demo speech, both engines) runs once undisturbed. Then
it is started, killed after a random part of that time, checked and started again. If it ends before
its kill, it is compared with the undisturbed run and started again from nothing. Every other kill
hits the whole process tree at once, like a node failure; the others hit only the process group of
the command, and everything that it started must end by itself.

After every kill, each record is complete, each checkpoint loads, and no process is left. After
every end, the records equal those of the undisturbed run exactly, except those of s3prl's cells
that were resumed in the middle of training, which must be marked so.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import yaml
from common import write_result

from s3prl_compress.encoder import fingerprint, load
from s3prl_compress.evaluation.cell import finished_record
from s3prl_compress.results.records import ScoreRecord, read_records

QUICK: dict[str, Any] = {
    "extends": "smoke",
    "total_steps": 60,
    "eval_step": 20,
    "batch_size": 8,
    "crops_per_file": 4,
    "learning_rates": [1e-2, 1e-3],
    # One learning rate, because s3prl takes most of its time to start; enough steps that some kills
    # hit the training.
    "engines": {"s3prl": {"learning_rates": [1e-2], "total_steps": 200}},
}
SUITE: dict[str, Any] = {
    "output": "unused",
    "upstreams": [
        {"name": "tiny", "random": {"shape": "hubert_tiny"}},
        {"name": "half", "from": "tiny", "method": "magnitude", "settings": {"sparsity": 0.5}},
    ],
    "tasks": [
        {"task": "ks", "data": "demo", "recipe": "quick.yaml", "engines": ["onepass", "s3prl"]}
    ],
    "device": "cpu",
    "threads": 1,
}
PATIENCE = 30.0
"""Seconds within which the processes that were not killed must end by themselves."""


@dataclass
class Findings:
    """The observations of all kills and ends."""

    kills: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Violations; empty if the suite behaves as documented."""


def start(suite: Path, output: Path, log: Path) -> subprocess.Popen[bytes]:
    command = "from s3prl_compress.cli import main; raise SystemExit(main())"
    arguments = [sys.executable, "-c", command, "run", str(suite), "--output", str(output)]
    with log.open("wb") as file:
        return subprocess.Popen(arguments, stdout=file, stderr=file, start_new_session=True)


def run_whole(suite: Path, output: Path, log: Path) -> float:
    """Run a suite to its end and return its duration in seconds."""
    started = time.perf_counter()
    if start(suite, output, log).wait() != 0:
        raise SystemExit(f"the suite failed:\n{log.read_text(errors='replace')[-3000:]}")
    return time.perf_counter() - started


def kill(run: subprocess.Popen[bytes], *, everything: bool) -> list[psutil.Process]:
    """Kill the suite and return the processes that remain after `PATIENCE` seconds."""
    family = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGKILL)
    if everything:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    run.wait()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def look(output: Path) -> tuple[dict[str, int], list[str]]:
    """Count the complete records and checkpoints in an output folder, and name the others."""
    counts = {"records": 0, "checkpoints": 0, "states": 0, "features": 0}
    faults = []
    for kind, pattern, check in (
        ("records", "records/*.json", _check_record),
        ("checkpoints", "upstreams/*/config.json", lambda path: load(path.parent)),
        ("states", "records/.work/**/*.ckpt", _check_state),
        ("features", "records/.work/**/*.npy", _check_features),
    ):
        for path in sorted(output.glob(pattern)):
            if path.name.startswith("."):
                continue
            try:
                check(path)
                counts[kind] += 1
            except Exception as error:  # whatever it is, it goes into the list
                faults.append(f"{path.relative_to(output)}: {type(error).__name__}: {error}")
    return counts, faults


def _check_record(path: Path) -> None:
    if finished_record(path.parent, path.stem) is None:
        raise ValueError("not a whole record with all of its predictions")


def _check_state(path: Path) -> None:
    with torch.serialization.safe_globals([argparse.Namespace]):
        torch.load(path, map_location="cpu", weights_only=True)


def _check_features(path: Path) -> None:
    if path.with_suffix(".json").is_file():  # without its index it counts for nothing
        np.load(path, mmap_mode="r", allow_pickle=False)


def scores(output: Path) -> dict[str, ScoreRecord]:
    found = [record for _, record in read_records(output / "records")]
    return {record.predictions: record for record in found if isinstance(record, ScoreRecord)}


def compare(output: Path, plain: Path) -> tuple[dict[str, int], list[str]]:
    """Compare a suite that was killed with the undisturbed one."""
    ours, theirs = scores(output), scores(plain)
    counts = {"equal": 0, "resumed": 0, "upstreams": 0}
    faults = []
    if set(ours) != set(theirs):
        faults.append(f"other cells: {sorted(set(ours) ^ set(theirs))}")
    for name in sorted(set(ours) & set(theirs)):
        one, other = ours[name], theirs[name]
        predictions = [(folder / "records" / name).read_bytes() for folder in (output, plain)]
        equal = (one.score, one.rates, one.dev_score) == (other.score, other.rates, other.dev_score)
        if one.resumed and one.engine == "s3prl":
            counts["resumed"] += 1
        elif equal and predictions[0] == predictions[1]:
            counts["equal"] += 1
        else:
            faults.append(f"{name}: {one.score} in place of {other.score}, and not marked resumed")
    for folder in sorted(path.parent for path in plain.glob("upstreams/*/config.json")):
        if fingerprint(load(folder)) == fingerprint(load(output / "upstreams" / folder.name)):
            counts["upstreams"] += 1
        else:
            faults.append(f"upstream {folder.name}: other weights")
    return counts, faults


def disturb(folder: Path, kills: int, seed: int) -> tuple[Findings, float]:
    """Run the suite undisturbed, then kill it `kills` times; return the observations."""
    (folder / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    suite, log = folder / "suite.yaml", folder / "log"
    suite.write_text(yaml.safe_dump(SUITE, sort_keys=False))
    plain, output = folder / "plain", folder / "killed"
    whole = run_whole(suite, plain, log)
    print(f"undisturbed: {whole:.0f} s, {len(scores(plain))} scores", flush=True)
    findings, moments = Findings(), random.Random(seed)
    while len(findings.kills) < kills:
        moment, run = moments.uniform(0, whole), start(suite, output, log)
        try:
            status = run.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            number = len(findings.kills)
            left = kill(run, everything=number % 2 == 0)
            counts, faults = look(output)
            faults += [f"still there: {process}" for process in left]
            at = _title(log)
            findings.kills.append({"second": round(moment, 1), "in": at, **counts})
            findings.faults += faults
            print(f"kill {number + 1} after {moment:.1f} s, {at}: {counts} {faults}", flush=True)
            continue
        if status != 0:
            findings.faults.append(f"the suite ended with status {status}: see {log}")
            break
        _ended(findings, output, plain)
    if not findings.faults:
        run_whole(suite, output, log)
        _ended(findings, output, plain)
    return findings, whole


def _ended(findings: Findings, output: Path, plain: Path) -> None:
    counts, faults = compare(output, plain)
    findings.ends.append(counts)
    findings.faults += faults
    print(f"the suite ended: {counts} {faults}", flush=True)
    shutil.rmtree(output)


def _title(log: Path) -> str:
    """Return the cell that the last run was working on."""
    lines = log.read_text(errors="replace").splitlines()
    titles = [line for line in lines if line.startswith("[")]
    return titles[-1] if titles else "before the first cell"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        findings, whole = disturb(Path(folder), options.kills, options.seed)
    equal = sum(end["equal"] for end in findings.ends)
    resumed = sum(end["resumed"] for end in findings.ends)
    print(
        f"{len(findings.kills)} kills, {len(findings.ends)} suites ended; {equal} scores equal to "
        f"the undisturbed run's, {resumed} of s3prl's resumed in the middle and marked so; "
        f"{len(findings.faults)} faults"
    )
    for fault in findings.faults:
        print(f"fault: {fault}")
    figures = {
        "seconds_undisturbed": whole,
        "kills": findings.kills,
        "ends": findings.ends,
        "faults": findings.faults,
    }
    write_result(options.output, figures)
    return 1 if findings.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
