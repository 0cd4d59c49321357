"""Kill a suite at random moments, again and again, and check that nothing is lost.

    python benchmarks/kill_suite.py --kills 300 --output out/kill_suite
    python benchmarks/kill_suite.py --kills 1000 --shard 2/4 --output out/kill_suite
    python benchmarks/kill_suite.py --summary --output out/kill_suite

A small suite (see `kill_inputs`) runs once undisturbed. Then it is started, ended after a random
time by SIGKILL or SIGTERM, checked and started again. If it ends before its signal, it is compared
with the undisturbed run and started again from nothing. Half of the signals hit all of its
processes at once, like the failure of a node; the others hit only the process group of the command,
and everything that it started must end by itself.

After every signal, each record and checkpoint that is there is whole, none that was complete is
gone, and no process is left; after SIGTERM the command has also ended by itself, without a
temporary file. After every end, the scores and predictions equal those of the undisturbed run,
except those of s3prl's cells that were resumed in the middle of training, which must be marked so.

The kills are divided into shards, for several machines or evenings. A shard writes its state after
every kill; the same command resumes it. `figures.json` in the output folder has all shards that are
there. Moments depend only on the seed, the shard and the number of the kill.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from common import write_result
from filelock import FileLock
from kill_checks import End, compare, look, temporary_files
from kill_inputs import write_inputs
from pydantic import BaseModel

from s3prl_compress.common.files import write_atomically
from s3prl_compress.suite.cells import cells_of
from s3prl_compress.suite.suite_file import Suite, read_suite

SIGNALS = ("SIGKILL", "SIGTERM")
SCOPES = ("command", "all processes")
PATIENCE = 30.0
"""Seconds within which the processes that were not killed must end by themselves."""
IMPORTS = (0.1, 0.2, 6.0)
"""Share of the moments while the command starts, and the seconds after the start between which they
lie. All others are counted from the end of its first cell on, when all imports are done."""
CELLS = (0.65, 0.0, 6.0)
"""Enough for a cell or two; what is complete is not done again, so that the suite comes to its end
after some 20 kills."""
LONG = (0.25, 8.0, 40.0)
"""For an export and s3prl's cells, which start again from the beginning or nearly so."""
_MARK = "S3PRL_COMPRESS_KILL_SUITE"
"""Environment variable by which all processes of a run are known, whoever their parent is."""


class Kill(BaseModel):
    """A run that was ended by a signal."""

    signal: str
    scope: str
    second: float
    """After the start, or after the end of the first cell; see `IMPORTS`."""
    hit: str
    """What was running: the kind of cell, or `start` or `report`."""
    cell: str
    ended: float
    """Seconds from the signal until all processes were gone."""
    checked: dict[str, int]
    """Numbers of whole records, checkpoints and so on."""


class Fault(BaseModel):
    """A violation of what is documented."""

    after: int
    kind: str
    """corrupt, lost, differing, process, temporary or status."""
    text: str


class Shard(BaseModel):
    """The state of a shard: everything observed so far."""

    number: int
    of: int
    seed: int
    wanted: int
    """Number of kills."""
    undisturbed: float = 0.0
    """Seconds of the undisturbed run; 0 before it."""
    complete: list[str] = []
    """Records in the folder that is being killed that were whole after the last kill."""
    kills: list[Kill] = []
    ends: list[End] = []
    faults: list[Fault] = []
    done: bool = False


class Killer:
    """Runs the suite in a shard's folder, and ends it.

    Args:
        folder: of the shard; it holds the suite's inputs, `plain` and `killed`.
        shard: its state, which is updated.
        state: file of the state.
    """

    def __init__(self, folder: Path, shard: Shard, state: Path) -> None:
        self.shard, self._state = shard, state
        self._suite, self._log = folder / "suite.yaml", folder / "log"
        self._plain, self._output = folder / "plain", folder / "killed"
        if not shard.undisturbed:  # it may have been interrupted before: all is written again
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_inputs(folder)
        self._titles = kinds_of_titles(read_suite(self._suite))

    def run(self) -> None:
        """Kill the suite until there are as many kills as wanted, and compare its last end."""
        shard = self.shard
        if not shard.undisturbed:
            started = time.perf_counter()
            if (status := self._start(self._plain).wait()) != 0:
                raise SystemExit(f"the suite failed with {status}: see {self._log}")
            shard.undisturbed = time.perf_counter() - started
            self._save()
            print(f"undisturbed: {shard.undisturbed:.0f} s", flush=True)
        while len(shard.kills) < shard.wanted:
            self._kill_once()
            self._save()
        status = self._start(self._output).wait()
        self._ended(status)
        shard.done = True
        self._save()

    def _kill_once(self) -> None:
        shard, number = self.shard, len(self.shard.kills)
        # Ends count too: a run that ended before its moment is not repeated with the same one.
        draw = random.Random(f"{shard.seed}/{shard.number}/{number}/{len(shard.ends)}")
        ranges = (IMPORTS, CELLS, LONG)
        (drawn,) = draw.choices(ranges, [share for share, _, _ in ranges])
        _, earliest, latest = drawn
        if drawn is CELLS:  # on a busy machine a cell takes longer
            latest = max(latest, shard.undisturbed / 12)
        moment = draw.uniform(earliest, latest)
        name, scope = draw.choice(SIGNALS), draw.choice(SCOPES)
        before = temporary_files(self._output)
        run = self._start(self._output)
        if drawn is not IMPORTS:
            self._wait_for_a_cell(run)
        try:
            self._ended(run.wait(timeout=moment))
            return
        except subprocess.TimeoutExpired:
            pass
        left, seconds = end(run, getattr(signal, name), everything=scope == "all processes")
        cell, hit = self._at()
        faults = [("process", f"still there: {process}") for process in left]
        if name == "SIGTERM":
            # Before its imports are done, the command has no handler and dies of the signal.
            if run.returncode not in (143, -signal.SIGTERM):
                faults.append(("status", f"ended with {run.returncode} after SIGTERM"))
            new = temporary_files(self._output) - before
            faults += [("temporary", str(path)) for path in sorted(new)]
        checked, corrupt, complete = look(self._output)
        faults += [("corrupt", text) for text in corrupt]
        faults += [("lost", text) for text in sorted(set(shard.complete) - complete)]
        shard.complete = sorted(complete)
        shard.kills.append(
            Kill(
                signal=name, scope=scope, second=moment, hit=hit, cell=cell, ended=seconds,
                checked=checked,
            )
        )  # fmt: skip
        self._note(faults)
        title = f"kill {number + 1}, {name} to {scope} after {moment:.1f} s"
        print(f"{title}, {cell}, ended in {seconds:.1f} s: {checked} {faults}", flush=True)

    def _ended(self, status: int) -> None:
        faults = []
        if status != 0:
            text = self._log.read_text(errors="replace")[-2000:]
            faults.append(("status", f"the suite ended with {status}: {text}"))
        end, differences = compare(self._output, self._plain)
        end = end.model_copy(update={"after": len(self.shard.kills)})
        self.shard.ends.append(end)
        self._note(faults + [("differing", text) for text in differences])
        print(f"the suite ended: {end} {faults} {differences}", flush=True)
        if faults or differences:  # kept to be looked at
            kept = self._output.with_name(f"fault{len(self.shard.faults)}")
            shutil.move(self._output, kept)
            shutil.copy(self._log, kept)
        shutil.rmtree(self._output, ignore_errors=True)
        self.shard.complete = []

    def _start(self, output: Path) -> subprocess.Popen[bytes]:
        command = "from s3prl_compress.cli import main; raise SystemExit(main())"
        arguments = ["run", str(self._suite), "--output", str(output)]
        with self._log.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-c", command, *arguments],
                stdout=file,
                stderr=file,
                start_new_session=True,
                env=os.environ | {_MARK: str(self._state.resolve()), "TQDM_DISABLE": "1"},
            )

    def _wait_for_a_cell(self, run: subprocess.Popen[bytes]) -> None:
        while run.poll() is None and "\n    " not in self._log.read_text(errors="replace"):
            time.sleep(0.05)

    def _at(self) -> tuple[str, str]:
        """Return the cell that the last run was working on, and its kind."""
        lines = self._log.read_text(errors="replace").splitlines()
        titles = [line for line in lines if line.startswith("[")]
        if not titles:
            return "before the first cell", "start"
        number, _, title = titles[-1].partition("] ")
        last = number[1:].split("/")
        if last[0] == last[1] and lines[-1].startswith("    "):
            return "after the last cell", "report"
        return title, self._titles[title]

    def _note(self, faults: Sequence[tuple[str, str]]) -> None:
        after = len(self.shard.kills)
        self.shard.faults += [Fault(after=after, kind=kind, text=text) for kind, text in faults]

    def _save(self) -> None:
        write_atomically(self._state, self.shard.model_dump_json(indent=1) + "\n")


def kinds_of_titles(suite: Suite) -> dict[str, str]:
    """Return the kind of each cell by its title: how an upstream is made, or task and engine."""
    origins = {
        entry.name: entry.method or ("export" if entry.export else "random or source")
        for entry in suite.upstreams
    }
    kinds = {}
    for cell in cells_of(suite):
        if cell.kind == "upstream":
            kinds[cell.title] = f"upstream, {origins[cell.upstream]}"
        elif cell.kind == "score":
            kinds[cell.title] = f"{cell.task_name}, {cell.engine}"
        else:
            kinds[cell.title] = cell.kind
    return kinds


def end(
    run: subprocess.Popen[bytes], number: int, *, everything: bool
) -> tuple[list[psutil.Process], float]:
    """Send a signal to a run; return what is left after `PATIENCE`, and the seconds it took."""
    mark = psutil.Process(run.pid).environ().get(_MARK)
    family = psutil.Process(run.pid).children(recursive=True)
    started = time.perf_counter()
    os.killpg(run.pid, number)
    for process in family if everything else ():
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    left = marked(mark)
    while left and time.perf_counter() - started < PATIENCE:
        run.poll()
        time.sleep(0.05)
        left = [process for process in left if alive(process)]
        left = left or marked(mark)  # one may have been started in between
    seconds = time.perf_counter() - started
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    run.wait()
    return left, seconds


def marked(mark: str | None) -> list[psutil.Process]:
    """Return the processes of a run, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(_MARK) == mark is not None and alive(process):
                found.append(process)
    return found


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def summary(shards: Sequence[Shard]) -> tuple[list[str], dict[str, Any]]:
    """Return the lines of the table and the figures of some shards."""
    kills = [kill for shard in shards for kill in shard.kills]
    ends = [end for shard in shards for end in shard.ends]
    faults = Counter(fault.kind for shard in shards for fault in shard.faults)
    checked: Counter[str] = Counter()
    for kill in kills:
        checked.update(kill.checked)
    table = Counter((kill.hit, kill.signal) for kill in kills)
    lines = [f"{'hit':28}" + "".join(f"{name:>9}" for name in SIGNALS)]
    hits = sorted({kill.hit for kill in kills})
    lines += [f"{hit:28}" + "".join(f"{table[hit, name]:9}" for name in SIGNALS) for hit in hits]
    ended = {
        name: [kill.ended for kill in kills if kill.signal == name] or [0.0] for name in SIGNALS
    }
    lines += [
        f"{len(kills)} kills of {sum(shard.wanted for shard in shards)} wanted in these shards; "
        + ", ".join(f"{name} {sum(kill.signal == name for kill in kills)}" for name in SIGNALS),
        "all processes gone after at most "
        + ", ".join(f"{max(ended[name]):.1f} s ({name})" for name in SIGNALS),
        "checked after kills: " + ", ".join(f"{count} {kind}" for kind, count in checked.items()),
        f"{len(ends)} suites ended: {sum(end.equal for end in ends)} scores equal to the "
        f"undisturbed run's, {sum(end.resumed for end in ends)} of s3prl's resumed in the middle "
        f"and marked so, {sum(end.upstreams for end in ends)} equal upstreams",
        f"faults: {sum(faults.values())} "
        + " ".join(
            f"{kind} {faults[kind]}"
            for kind in ("corrupt", "lost", "differing", "process", "temporary", "status")
        ),
    ]
    figures = {
        "kills": len(kills),
        "wanted": sum(shard.wanted for shard in shards),
        "by_hit_and_signal": {hit: {name: table[hit, name] for name in SIGNALS} for hit in hits},
        "by_scope": dict(Counter(kill.scope for kill in kills)),
        "most_seconds_to_end": {name: round(max(ended[name]), 2) for name in SIGNALS},
        "checked_after_kills": dict(checked),
        "suites_ended": len(ends),
        "equal_scores": sum(end.equal for end in ends),
        "resumed_and_marked": sum(end.resumed for end in ends),
        "equal_upstreams": sum(end.upstreams for end in ends),
        "faults": [fault.model_dump() for shard in shards for fault in shard.faults],
        "shards": [
            {
                "number": shard.number,
                "of": shard.of,
                "seed": shard.seed,
                "kills": len(shard.kills),
                "wanted": shard.wanted,
                "seconds_undisturbed": round(shard.undisturbed, 1),
            }
            for shard in shards
        ],
    }
    return lines, figures


def shard_of(text: str) -> tuple[int, int]:
    """Read "2/4": the second of four shards."""
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError("must be I/N with I from 1 to N")
    return int(number), int(of)


def open_shard(state: Path, number: int, of: int, kills: int, seed: int) -> Shard:
    """Return the state of a shard, from its file if it was begun before."""
    wanted = kills // of + (number <= kills % of)
    if not state.is_file():
        return Shard(number=number, of=of, seed=seed, wanted=wanted)
    shard = Shard.model_validate_json(state.read_bytes())
    if shard.seed != seed:
        raise SystemExit(f"{state}: begun with --seed {shard.seed}; give that, or another --output")
    done = shard.done and wanted <= len(shard.kills)
    return shard.model_copy(update={"wanted": wanted, "done": done})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of all shards together")
    parser.add_argument("--shard", type=shard_of, default=(1, 1), help="which of how many: 2/4")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, required=True, help="folder for states and figures")
    parser.add_argument("--summary", action="store_true", help="only print what is there")
    options = parser.parse_args()
    number, of = options.shard
    name = f"shard-{number}-of-{of}"
    state, folder = options.output / f"{name}.json", (options.output / name).absolute()
    if not options.summary:
        options.output.mkdir(parents=True, exist_ok=True)
        with FileLock(options.output / f"{name}.lock"):
            shard = open_shard(state, number, of, options.kills, options.seed)
            if not shard.done:
                Killer(folder, shard, state).run()
            if not shard.faults:
                shutil.rmtree(folder, ignore_errors=True)
    states = sorted(options.output.glob("shard-*-of-*.json"))
    lines, figures = summary([Shard.model_validate_json(path.read_bytes()) for path in states])
    print(*lines, sep="\n")
    for fault in figures["faults"]:
        print(f"fault: {fault}")
    write_result(options.output / "figures.json", figures)
    return 1 if figures["faults"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
