"""Feed damaged and hostile files to everything that reads a user's files.

    python benchmarks/fuzz.py --inputs 5000 --seed 0 --output out/fuzz.json

Checkpoint folders, safetensors files, suites, recipes, tables, transcripts, recordings and `.pt`
files are mutated at random and read by the functions that the commands call. Each must be accepted,
or refused by an `InputError` of one line, which is what the command line prints. Anything else is a
failure: another exception, a crash, more than 10 s, or more than 2 GiB.

Inputs are read in a child process, which is replaced after a failure. The inputs that failed are
kept in a folder, each with its traceback. Prints a table; the exit code is 1 after a failure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from common import write_result
from fuzz_child import Child, Outcome
from fuzz_inputs import TARGETS, read_input
from fuzz_originals import write_originals
from tqdm import tqdm


@dataclass
class Row:
    """The outcomes of a target."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    memory: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.counts[outcome.kind] += 1
        self.slowest = max(self.slowest, outcome.seconds)
        self.memory = max(self.memory, outcome.memory)

    @property
    def failures(self) -> dict[str, int]:
        """Number of failures by their kind."""
        return {
            kind: number
            for kind, number in sorted(self.counts.items())
            if kind not in ("accepted", "refused")
        }


def fuzz(targets: list[str], inputs: int, seed: int, kept: Path) -> dict[str, Row]:
    """Read `inputs` inputs, of each target in turn; return the outcomes by target.

    Args:
        targets: names of targets.
        inputs: number of inputs of all targets together.
        seed: random seed; an input follows from it, the target and the input's number.
        kept: folder for inputs that fail.
    """
    rows = {target: Row() for target in targets}
    with tempfile.TemporaryDirectory() as name:
        originals = Path(name) / "originals"
        write_originals(originals)
        child = Child(originals, read_input)
        try:
            for number in tqdm(range(inputs), unit="input"):
                target = targets[number % len(targets)]
                folder = Path(name) / "input"
                label = f"{seed} {target} {number // len(targets)}"
                outcome = child.read(target, folder, label)
                rows[target].add(outcome)
                if outcome.failed:
                    place = kept / label.replace(" ", "_")
                    shutil.rmtree(place, ignore_errors=True)
                    shutil.copytree(folder, place, symlinks=True)
                    (place / "failure.txt").write_text(f"{outcome.kind}\n{outcome.message}\n")
                shutil.rmtree(folder)
        finally:
            child.stop()
    return rows


def print_table(rows: dict[str, Row]) -> None:
    print("| target | inputs | accepted | refused | failures | slowest, s | peak memory, MiB |")
    print("|---|---:|---:|---:|---|---:|---:|")
    total = Row()
    for target, row in rows.items():
        total.counts += row.counts
        total.slowest, total.memory = max(total.slowest, row.slowest), max(total.memory, row.memory)
        print(_line(target, row))
    print(_line("all", total))


def _line(target: str, row: Row) -> str:
    failures = ", ".join(f"{number} {kind}" for kind, number in row.failures.items()) or "none"
    cells = (target, row.counts.total(), row.counts["accepted"], row.counts["refused"], failures)
    return f"| {' | '.join(map(str, cells))} | {row.slowest:.2f} | {row.memory / 2**20:.0f} |"


def main() -> int:
    # No look-up of names on the model hub; the child inherits it.
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Suites may ask for hundreds of threads, whose stacks would count as memory.
    os.environ["OMP_STACKSIZE"] = "256k"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=5000, help="number of inputs in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--failures", type=Path, default=Path("out/fuzz_failures"))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = fuzz(arguments.target, arguments.inputs, arguments.seed, arguments.failures)
    print_table(rows)
    failed = any(row.failures for row in rows.values())
    if failed:
        print(f"\ninputs that failed, with tracebacks: {arguments.failures}")
    figures = {
        target: {
            "outcomes": dict(row.counts),
            "slowest_seconds": row.slowest,
            "peak_memory_bytes": row.memory,
        }
        for target, row in rows.items()
    }
    write_result(arguments.output, figures)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
