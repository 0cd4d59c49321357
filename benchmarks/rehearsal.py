"""Rehearse a score at official settings on a corpus of the official one's layout and size.

    python benchmarks/rehearsal.py --task sid --scale 0.01 --output out/rehearsal
    python benchmarks/rehearsal.py --task sid --output out/rehearsal

A corpus of tones in noise is written (see `rehearsal_corpora`), with the official layout, number
of files and speakers; its recordings are shorter (`--seconds`). A process of its own then does what
`score --recipe official` does with a small encoder of random weights, and its memory is sampled
meanwhile. Printed are time, memory and disk of each stage, and the estimate of `run --dry-run`.

`--scale` below 1 takes that part of the files and of the recipe's updates, but at least a few files
of each class and split (VoxCeleb1: one of each speaker for training). On an encoder narrower than
768, ASR trains a small recogniser in place of the official one.

Then the time at HuBERT-base size on the official corpus is extrapolated: the speed of the forward
pass and of updates of the heads are measured here, at the lengths and class numbers of the official
corpus, and multiplied; checking and fingerprint grow with the number of files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml
from common import write_result
from rehearsal_base import Extrapolation, extrapolate
from rehearsal_corpora import WRITERS, Rehearsed, write_corpus

from s3prl_compress.common.file_hashes import FEWEST, RECENT
from s3prl_compress.encoder import named_shape, random_encoder
from s3prl_compress.evaluation import load_settings, open_corpus, score

INTERVAL = 0.02
"""Seconds between two looks at the memory."""
FEWEST_STEPS = 40
BETWEEN_LOOKS = 20
"""Fewest updates between two evaluations on dev, whose fixed costs do not shrink with the scale."""
SMALL_RECOGNISER = {
    "project_dim": 128, "rnn_dim": 128, "rnn_layers": 1, "dropout": 0.2, "specaug": False
}  # fmt: skip
RECORDED = ("features", "heads", "test")
"""Stages whose times are in the record of a score."""


@dataclass
class Stage:
    """A part of the run."""

    name: str
    start: float
    """By `time.time`."""
    end: float
    resident: int = 0
    """Highest resident memory within it, in bytes."""
    own: int = 0
    """The same without mapped files, which the system takes back when it needs memory."""
    disk: int = 0
    """Bytes that it left on disk."""

    @property
    def seconds(self) -> float:
        """Its wall time."""
        return self.end - self.start


def recipe_of(task: str, scale: float, steps: int | None, hidden: int) -> dict[str, Any]:
    """Return a recipe that extends the official one, with a part of its updates."""
    official, _ = load_settings(task, "official", "onepass")
    total = max(FEWEST_STEPS, steps or round(scale * official.total_steps))
    looks = official.total_steps // official.eval_step
    recipe: dict[str, Any] = {
        "name": "rehearsal",
        "extends": "official",
        "total_steps": total,
        "eval_step": max(BETWEEN_LOOKS, total // looks),
        "crops_per_file": max(4, round(scale * official.crops_per_file)),
    }
    if official.recognition is not None and hidden < 768:  # SpecAugment's masks assume 768
        recipe["recognition"] = SMALL_RECOGNISER
    return recipe


def run_stages(pipe: Connection, task: str, data: Path, folder: Path, encoder: str) -> None:
    """Check, hash and score a corpus, and send the stages' times; runs in a process of its own."""
    model = random_encoder(named_shape(encoder)).eval()
    for which in ("first", "again"):
        corpus = open_corpus(data, task)  # a new one, which has read nothing
        for name, act in (("checking", corpus.check), ("fingerprint", corpus.fingerprint)):
            started = time.time()
            act()
            pipe.send((f"{name}, {which}", started, time.time()))
    started = time.time()
    record = score(
        model,
        task,
        data=data,
        output=folder / "results",
        recipe=folder / "recipe.yaml",
        name=encoder,
    )
    pipe.send(("score", started, time.time()))
    pipe.send((record.score, record.metric, record.seconds, record.settings))


def watched(
    arguments: tuple[Any, ...],
) -> tuple[list[Stage], tuple[float, str, dict[str, float], dict[str, Any]]]:
    """Run the stages in a process, and return them with their memory, and the score."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe(duplex=False)
    process = context.Process(target=run_stages, args=(other, *arguments))
    process.start()
    other.close()
    stages, samples, result = [], [], None
    while result is None:
        if pipe.poll(INTERVAL):
            try:
                message = pipe.recv()
            except EOFError:
                process.join()
                raise SystemExit("the rehearsed process failed; see its message above") from None
            if isinstance(message[0], str):
                stages.append(Stage(*message))
            else:
                result = message
        else:
            samples.append((time.time(), *memory_of(psutil.Process(process.pid))))
    process.join()
    whole = stages.pop()
    parts, end = [], whole.end
    for name in reversed(RECORDED):
        parts.append(Stage(name, end - result[2][name], end))
        end = parts[-1].start
    stages += [Stage("loading, both checks", whole.start, end), *reversed(parts)]
    for stage in stages:
        within = [one for one in samples if stage.start <= one[0] <= stage.end]
        # A stage of a few milliseconds may lie between two looks: then the nearest one counts.
        nearest = min(samples, key=lambda one: abs(one[0] - stage.end))
        stage.resident = max(one[1] for one in (*within, nearest))
        stage.own = max(one[2] for one in (*within, nearest))
    return stages, result


def memory_of(process: psutil.Process) -> tuple[int, int]:
    """Return the resident bytes of a process and its children, and those without mapped files.

    Of children, only memory of their own counts: one that was just forked shares all of its
    parent's.
    """
    try:
        found = process.memory_info()
        children = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return 0, 0
    unique = 0
    for child in children:
        with suppress(psutil.NoSuchProcess):
            unique += child.memory_full_info().uss
    return found.rss + unique, found.rss - found.shared + unique


def dry_run(folder: Path, task: str, data: Path, encoder: str, threads: int) -> dict[str, Any]:
    """Return the estimate of `run SUITE --dry-run` for the cell, without any past record."""
    # Here, since the process that scores imports this module, too, and does not need them.
    from s3prl_compress.suite.cells import cells_of
    from s3prl_compress.suite.estimate import estimate
    from s3prl_compress.suite.plan import SuitePlan
    from s3prl_compress.suite.suite_file import read_suite

    suite = {
        "output": str(folder / "suite"),
        "upstreams": [{"name": encoder, "random": {"shape": encoder}}],
        "tasks": [
            {
                "task": task,
                "data": str(data),
                "recipe": str(folder / "recipe.yaml"),
                "engines": ["onepass"],
            }
        ],
        "device": "cpu",
        "threads": threads,
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")
    read = read_suite(path)
    plan = SuitePlan(suite=read, output=folder / "suite", device="cpu", threads=threads, command=())
    cells = [cell for cell in cells_of(read) if cell.kind == "score"]
    (found,) = estimate(plan, cells).data["cells"]
    return {key: found[key] for key in ("seconds", "bytes", "basis")}


def bytes_below(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rehearse(
    task: str, folder: Path, corpus: Rehearsed, scale: float, steps: int | None, encoder: str
) -> dict[str, Any]:
    """Run a task end to end on a corpus that was written; print and return the figures."""
    for name in ("results", "hashes"):  # of an earlier run: nothing is taken from it
        shutil.rmtree(folder / name, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = str(folder / "hashes")
    recipe = recipe_of(task, scale, steps, named_shape(encoder).hidden)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    if corpus.written and corpus.files >= FEWEST:
        time.sleep(RECENT)  # hashes of files that are newer than this are not remembered
    stages, (value, metric, seconds, settings) = watched((task, corpus.data, folder, encoder))
    kept = {
        "fingerprint, first": folder / "hashes",
        "features": folder / "results/.work/features",
    }
    for stage in stages:
        if stage.name in kept:
            stage.disk = bytes_below(kept[stage.name])
    estimated = dry_run(folder, task, corpus.data, encoder, torch.get_num_threads())
    print(
        f"\n{task}, scale {scale:g}: {corpus.files} recordings of "
        f"{corpus.seconds / corpus.files:.2f} s ({corpus.seconds / 3600:.2f} h, "
        f"{bytes_below(corpus.source) / 1e6:.0f} MB), {encoder} with random weights, "
        f"{settings['total_steps']} updates, {len(settings['learning_rates'])} learning rates: "
        f"{metric} {value:.1f}\n"
        f"{'stage':24}{'time':>10}{'memory':>12}{'own':>12}{'disk':>12}"
    )
    for stage in stages:
        print(
            f"{stage.name:24}{stage.seconds:8.2f} s{stage.resident / 2**20:8.0f} MiB"
            f"{stage.own / 2**20:8.0f} MiB" + (f"{stage.disk / 1e6:9.1f} MB" if stage.disk else "")
        )
    peak, own = max(s.resident for s in stages), max(s.own for s in stages)
    print(
        f"peak memory {peak / 2**20:.0f} MiB, {own / 2**20:.0f} MiB without mapped files (wanted: "
        "at most 2048)"
    )
    measured = seconds["total"]
    print(
        f"run --dry-run: {estimated['seconds']:.1f} s for features, heads and test, measured "
        f"{measured:.1f} s: {estimated['seconds'] / measured:.2f} x (wanted: 0.5 to 2)"
    )
    return {
        "files": corpus.files,
        "audio_seconds": corpus.seconds,
        "writing_seconds": corpus.written,
        "prepare_seconds": corpus.prepared,
        "recipe": recipe,
        "score": value,
        "stages": [asdict(stage) | {"seconds": stage.seconds} for stage in stages],
        "peak_bytes": peak,
        "peak_own_bytes": own,
        "dry_run": estimated,
        "measured_seconds": measured,
    }


def print_extrapolation(task: str, base: str, found: Extrapolation) -> None:
    """Print the extrapolated stages with their shares."""
    print(
        f"\nEXTRAPOLATED, not run: {task}, {base} on {found.corpus}; forward pass: "
        f"{found.speed:.1f} s of audio per second, an update of all heads that train together: "
        f"{1e3 * found.update_seconds:.1f} ms"
    )
    total = sum(found.seconds.values())
    for name, value in found.seconds.items():
        print(f"  {name:34}{value:14.1f} s{100 * value / total:8.2f} %")
    print(
        f"  {'whole':34}{total:14.1f} s ({total / 3600:.1f} h)\n"
        f"  outside of the forward pass: {100 * found.share_outside:.2f} %"
        + (" (wanted: at most 15)" if task in ("ks", "sid", "er") else "")
        + "\n"
        f"  checking and fingerprint of {found.files} unchanged files: {found.unchanged:.1f} s "
        "(wanted: at most 60 for 150,000)\n" + "".join(f"  {note}\n" for note in found.notes),
        end="",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=sorted(WRITERS), required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="of files and updates")
    parser.add_argument("--output", type=Path, default=Path("out/rehearsal"))
    parser.add_argument("--encoder", default="hubert_tiny", help="name of a shape")
    parser.add_argument(
        "--seconds", type=float, nargs=2, default=(0.3, 1.1), help="shortest and longest recording"
    )
    parser.add_argument("--steps", type=int, help="updates, in place of the scaled number")
    parser.add_argument("--base", default="hubert_base", help="shape to extrapolate to")
    parser.add_argument("--updates", type=int, default=100, help="of its heads, to measure")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    if not 0 < arguments.scale <= 1:
        parser.error("--scale: must be above 0 and at most 1")
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # of the process that scores
    shortest, longest = arguments.seconds
    name = f"{arguments.task}_{arguments.scale:g}_{shortest:g}-{longest:g}"
    folder = (arguments.output / name).absolute()
    corpus = write_corpus(arguments.task, folder, arguments.scale, (shortest, longest))
    print(
        f"{corpus.source}: "
        + (f"written in {corpus.written:.1f} s" if corpus.written else "complete already")
        + (f"; prepare took {corpus.prepared:.1f} s" if corpus.prepared else "")
    )
    figures = rehearse(
        arguments.task, folder, corpus, arguments.scale, arguments.steps, arguments.encoder
    )
    seconds = {stage["name"]: stage["seconds"] for stage in figures["stages"]}
    found = extrapolate(
        arguments.task,
        folder,
        files=corpus.files,
        audio_seconds=corpus.seconds,
        stage_seconds=seconds,
        base=arguments.base,
        updates=arguments.updates,
    )
    print_extrapolation(arguments.task, arguments.base, found)
    figures |= {"scale": arguments.scale, "base": arguments.base, "extrapolated": asdict(found)}
    write_result(folder / "figures.json", figures)


if __name__ == "__main__":
    main()
