"""Share of a suite's time that is spent outside encoders and heads.

    python benchmarks/overhead.py recipes/demo.yaml --output out/overhead.json
    python benchmarks/overhead.py recipes/demo.yaml --only 'hubert_demo,random_small'
    python benchmarks/overhead.py recipes/demo.yaml --against ../other_checkout --pairs 3

The suite runs in a new folder, as `s3prl-compress run` runs it. The times at which it announces and
ends cells say how long each kind of cell took; the records say how much of that were features,
heads, tests and timed passes. The rest is outside: imports and starts of processes, preparing and
hashing corpora, loading and fingerprinting upstreams, records, the report, and waiting. Making
upstreams (compression, export) has a row of its own.

Then the suite runs once more in the same folder, where every cell is complete: all of it is
outside. With `--against`, the package of another checkout runs the same suite in turns with this
one.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import write_result

from s3prl_compress.latency.ratios import median, paired_ratio
from s3prl_compress.results.records import Record, ScoreRecord, read_records
from s3prl_compress.suite.suite_file import Suite, find_suite, read_suite

ANNOUNCED = re.compile(r"\[\d+/\d+\] (\S+) (.*)")
"""The line before a cell: its kind and upstream, or for a score its task and the rest."""
ENDED = re.compile(r"    .*\(\d+ s\)")
"""The line after a cell."""

STAGES = {
    "features": "features",
    "heads": "heads",
    "test": "tests",
    "train": "training by s3prl",
}
"""The rows for the stages of a score's record; its other one, `start`, is outside."""
TIMED, MAKING = "timed passes", "making upstreams"
START, LOADING, SCORES, TIMINGS, END = (
    "until the first cell",
    "loading sources",
    "around scores",
    "around timings",
    "after the last cell",
)
OUTSIDE = (START, LOADING, SCORES, TIMINGS, END)
ROWS = (*STAGES.values(), TIMED, MAKING, *OUTSIDE)

Line = tuple[str, float]
"""A line of the suite's output, and the seconds from the start of its process."""


@dataclass(frozen=True)
class Run:
    """A run of a suite, with times in seconds."""

    seconds: float
    cpu_seconds: float
    """CPU time of all of its processes."""
    rows: Mapping[str, float]
    """Wall time by row, see `ROWS`; their sum is `seconds`."""

    @property
    def outside(self) -> float:
        """Wall time outside encoder and heads, without making upstreams."""
        return sum(self.rows[row] for row in OUTSIDE)


def measure(name: str, only: str | None, output: Path, package: Path | None) -> Run:
    """Run a suite and return where its time went.

    Args:
        name: of the suite's file.
        only: see `s3prl-compress run --only`.
        output: the suite's output folder; complete cells in it are skipped.
        package: checkout whose package runs the suite; None: this one.

    Raises:
        SystemExit: the suite failed.
    """
    known = _records(output)
    lines, cpu_seconds = _watch(name, only, output, package)
    new = [record for path, record in _records(output).items() if path not in known]
    return Run(lines[-1][1], cpu_seconds, rows(lines, read_suite(find_suite(name)), new))


def rows(lines: Sequence[Line], suite: Suite, records: Sequence[Record]) -> dict[str, float]:
    """Return the wall time by row.

    Args:
        lines: the run's lines about cells, after its start and before its end, which are empty.
        suite: that was run.
        records: that the run has written.
    """
    made = {entry.name for entry in suite.upstreams if entry.method or entry.export}
    found = dict.fromkeys(ROWS, 0.0)
    row = START
    for number, (line, begin) in enumerate(lines[:-1]):
        if announced := ANNOUNCED.fullmatch(line):
            kind, rest = announced.groups()
            row = {"upstream": LOADING, "time": TIMINGS}.get(kind, SCORES)
            if row == LOADING and rest in made:
                row = MAKING
        elif number == len(lines) - 2:
            row = END
        found[row] += lines[number + 1][1] - begin
    for record in records:
        around = SCORES if isinstance(record, ScoreRecord) else TIMINGS
        for row, seconds in _inside(record).items():
            found[row] += seconds
            found[around] -= seconds
    return found


def _inside(record: Record) -> dict[str, float]:
    """Return the seconds that a record says were spent in encoder and heads, by row."""
    if isinstance(record, ScoreRecord):
        return {STAGES[name]: own for name, own in record.seconds.items() if name in STAGES}
    # All rounds are alike, but only those after the warm-up are in the record.
    rounds = 1 + record.settings["warmup"] / record.settings["repeats"]
    return {TIMED: rounds * sum(map(sum, record.raw_seconds.values()))}


def _watch(
    name: str, only: str | None, output: Path, package: Path | None
) -> tuple[list[Line], float]:
    """Run a suite; return its lines about cells between empty ones, and its CPU time."""
    program = "from s3prl_compress.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, "run", name, "--output", str(output)]
    command += [] if only is None else ["--only", only]
    environment = dict(os.environ)
    if package is not None:
        environment["PYTHONPATH"] = str(package.resolve())
    before, start = _cpu_seconds(), time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,  # each state of a progress bar becomes a line, too
        errors="replace",
    )
    assert process.stderr is not None
    lines, last = [("", 0.0)], [""]
    for line in map(str.rstrip, process.stderr):
        last = [*last[-30:], line]
        if ANNOUNCED.fullmatch(line) or ENDED.fullmatch(line):
            lines.append((line, time.perf_counter() - start))
    if process.wait() != 0:
        raise SystemExit("error: the suite failed:\n" + "\n".join(filter(None, last)))
    lines.append(("", time.perf_counter() - start))
    return lines, _cpu_seconds() - before


def _cpu_seconds() -> float:
    """Return the CPU time of all child processes that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _records(output: Path) -> dict[Path, Record]:
    folder = output / "records"
    return dict(read_records(folder)) if folder.is_dir() else {}


def compare(
    name: str, only: str | None, packages: Mapping[str, Path | None], pairs: int
) -> dict[str, dict[str, list[Run]]]:
    """Run a suite with each package in turns, in a new folder and then again in the same one.

    Prints every run. Returns them by package, and by "new" and "again".
    """
    runs: dict[str, dict[str, list[Run]]] = {side: {"new": [], "again": []} for side in packages}
    for number in range(pairs):
        for side in sorted(packages, reverse=number % 2 == 1):
            with tempfile.TemporaryDirectory() as folder:
                for kind, done in runs[side].items():
                    done.append(measure(name, only, Path(folder), packages[side]))
                    print(f"{side}, {kind}:\n{table(done[-1])}\n", flush=True)
    return runs


def table(run: Run) -> str:
    """Return a run as a table: its rows and their shares."""
    wanted = {**run.rows, "outside in all": run.outside, "total": run.seconds}
    lines = [
        f"  {row:22}{seconds:8.1f} s{100 * seconds / run.seconds:7.1f} %"
        for row, seconds in wanted.items()
        if seconds
    ]
    return "\n".join([*lines, f"  {'CPU time':22}{run.cpu_seconds:8.1f} s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", help="file or name of a suite")
    parser.add_argument("--only", help="cells, as for `s3prl-compress run`")
    parser.add_argument("--against", type=Path, help="checkout of another state of the package")
    parser.add_argument("--pairs", type=int, default=1, help="runs of each package")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    packages: dict[str, Path | None] = {"this": None}
    if arguments.against is not None:
        packages["against"] = arguments.against
    runs = compare(arguments.suite, arguments.only, packages, arguments.pairs)
    if arguments.against is not None:
        for kind in ("new", "again"):
            for clock in ("seconds", "cpu_seconds", "outside"):
                ours, theirs = (
                    [getattr(run, clock) for run in runs[side][kind]] for side in packages
                )
                pair = paired_ratio(ours, theirs)
                low, high = pair.interval
                print(
                    f"{kind}, {clock}: {median(ours):.1f} s, against {median(theirs):.1f} s, "
                    f"{pair.ratio:.2f} x less [{low:.2f}, {high:.2f}]"
                )
    figures: dict[str, Any] = {
        side: {kind: [asdict(run) for run in done] for kind, done in kinds.items()}
        for side, kinds in runs.items()
    }
    write_result(arguments.output, figures)


if __name__ == "__main__":
    main()
