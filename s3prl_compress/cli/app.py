"""The command line: plain functions. Their signatures are the options, their docstrings the help.

Heavy imports stand inside the functions, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..common.command_result import CommandResult, table
from ..common.validation import check_folder_output, pick_device, use_threads
from ..encoder.checkpoint import check_checkpoint_output
from . import console
from .checking import check
from .console import Command
from .exporting import export
from .options import settings_of_method


def ls(
    kind: Literal["methods", "tasks", "engines", "upstreams", "shapes", "recipes"],
    name: str | None = None,
    *,
    verbose: bool = False,
) -> CommandResult:
    """List what there is: methods, tasks, engines, upstreams, shapes or recipes.

    Args:
        kind: what to list
        name: only this one, with all that there is to say about it
        verbose: all of them with all that there is to say
    """
    from .listing import LISTINGS

    return LISTINGS[kind](name, verbose)


def inspect(model: str, *, device: str | None = None, threads: int | None = None) -> CommandResult:
    """Show an encoder's parameters, multiply-adds, shape and history.

    Args:
        model: a folder of ours, a transformers folder, an s3prl .pt, a hub id, or the name of a
            shape (see `ls shapes`), which needs no weights
        device: where the weights are loaded; cuda where there is one, else cpu
        threads: CPU threads
    """
    use_threads(threads)
    place = pick_device(device)
    from .inspection import inspect_model, inspection_rows

    figures = inspect_model(model, place)
    return CommandResult(figures, table(inspection_rows(figures)))


def random(shape: str, *, output: str, seed: int = 0) -> CommandResult:
    """Write a checkpoint with random weights, to try the tool without a download.

    Nothing was learned in it: its scores say nothing about compression, and say so.

    Args:
        shape: name of a shape, see `ls shapes`
        output: folder of the checkpoint
        seed: of the weights
    """
    folder = check_checkpoint_output(output)
    from ..encoder import cost, named_shape, random_encoder, save

    encoder = random_encoder(named_shape(shape), seed)
    save(encoder, folder)
    figures = {"output": output, "seed": seed, "random_weights": True} | cost(encoder).model_dump()
    return CommandResult(
        figures,
        f"{shape} with random weights (seed {seed}), {figures['parameters']:,} parameters: "
        f"{output}",
        (
            f"next: s3prl-compress compress {output} "
            "--method clustering --sparsity 0.1 --output DIR",
        ),
    )


def compress(
    model: str,
    *,
    output: str,
    method: str | None = None,
    then: str | None = None,
    recipe: str | None = None,
    normalize: bool | None = None,
    device: str | None = None,
    threads: int | None = None,
    **settings: str,
) -> CommandResult:
    """Make an encoder smaller and write it as a checkpoint folder.

    The method's own settings are further options: `ls methods NAME` shows them, and so does this
    help where it is asked together with `--method NAME` or `--recipe FILE`. Methods can follow one
    another: the output of one is a MODEL for the next. A recipe names methods and settings;
    options on the command line count before those of the recipe.

    What a learned method has learned so far lies in OUTPUT.work until the checkpoint is written;
    killed and started again, it goes on from there.

    Args:
        model: a folder of ours, a transformers folder, an s3prl .pt, or a hub id
        output: folder of the new checkpoint; one that is there is replaced
        method: name of a method, see `ls methods`
        then: method for what the first one made, such as distill, whose teacher is MODEL; a
            setting that both have goes to both
        recipe: a YAML file in place of method and then, or the name of a packaged one, see
            `ls recipes`
        normalize: yes or no: whether waveforms are normalised first, in place of what MODEL says;
            stored in the new checkpoint
        device: where it is computed; cuda where there is one, else cpu
        threads: CPU threads
    """
    use_threads(threads)
    place, folder = pick_device(device), check_checkpoint_output(output)
    from . import compression, recipes

    steps = recipes.steps_of(method, then, recipe)
    figures = compression.compress_to(model, folder, steps, settings, place, normalize)
    return CommandResult(
        figures,
        compression.comparison(figures),
        (
            *(f"note: {note}" for note in figures["notes"]),
            f"checkpoint: {output}",
            f"next: s3prl-compress time {output} --against {model}",
            f"      s3prl-compress score {output} --task ks --data DIR",
        ),
    )


def prepare(task: str, metadata: str, *, output: str) -> CommandResult:
    """Bring a table of recordings into the layout that the engines read.

    Args:
        task: name of a task, see `ls tasks`
        metadata: csv file with the columns file, label, speaker, split (train, valid, test; for er
            session1 to session5); in place of label, asr takes text (or transcript), and ic takes
            action, object and location. For er also the folder of IEMOCAP, for ic that of Fluent
            Speech Commands; or the word demo, for the generated speech that comes with this package
        output: folder of the corpus; left as it is where it holds this very corpus
    """
    check_folder_output(output)
    from ..tasks.registry import corpus_figures, prepare_corpus

    figures = corpus_figures(prepare_corpus(task, metadata, Path(output)), task)
    sizes = ", ".join(f"{count} {split}" for split, count in figures["sizes"].items())
    return CommandResult(
        figures,
        f"{figures['name']} ({figures['variant']}, {len(figures['classes'])} classes): {sizes}",
        (
            f"corpus: {output}",
            f"next: s3prl-compress score MODEL --task {task} --data {output}",
        ),
    )


def score(
    model: str,
    *,
    data: str,
    task: str = "ks",
    engine: Literal["onepass", "s3prl"] = "onepass",
    recipe: str = "smoke",
    output: str = "results",
    seed: int | None = None,
    seeds: str | None = None,
    padding: Literal["independent", "fairseq"] | None = None,
    name: str | None = None,
    force: bool = False,
    cache: str | None = None,
    normalize: bool | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> CommandResult:
    """Score an encoder on a task; a cell that is already in the output is not run again.

    Args:
        model: a folder of ours, a transformers folder, an s3prl .pt, or a hub id
        data: folder of the corpus, see `prepare`; for ctc a folder in LibriSpeech's layout or a
            csv table
        task: name of a task, see `ls tasks`; ctc measures the word errors of a CTC head that MODEL
            has, and takes none of engine, recipe, seed, seeds, padding and cache
        engine: see `ls engines`
        recipe: smoke, official, or a YAML file
        output: folder of records
        seed: of the head's weights and of the batches; 0 if neither it nor seeds is given
        seeds: several, such as 0-9 or 0,3,5; onepass trains them together
        padding: of shorter utterances in a batch; the recipe's by default
        name: of the upstream in tables
        force: run the cell even where its record is there
        cache: folder of features, to share them between output folders
        normalize: yes or no: whether waveforms are normalised first, in place of what MODEL says
        device: where it is computed; cuda where there is one, else cpu
        threads: CPU threads
    """
    use_threads(threads)
    place, folder = pick_device(device), check_folder_output(output)
    from .scoring import score_and_summarize

    return score_and_summarize(
        model,
        task,
        seed,
        seeds,
        data=data,
        output=folder,
        engine=engine,
        recipe=recipe,
        device=place,
        padding=padding,
        name=name,
        force=force,
        cache=cache,
        normalize=normalize,
    )


def time(
    model: str,
    *,
    against: str | None = None,
    output: str | None = None,
    repeats: int = 10,
    warmup: int = 2,
    dtype: Literal["float32", "bfloat16"] = "float32",
    batch_size: int = 1,
    utterances_per_bucket: int | None = None,
    name: str | None = None,
    against_name: str | None = None,
    normalize: bool | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> CommandResult:
    """Measure an encoder's speed, by itself or side by side with another one.

    Args:
        model: a folder of ours, a transformers folder, an s3prl .pt, or a hub id
        against: the one to compare with, normally the dense upstream
        output: folder of records; without it the figures are only printed
        repeats: rounds that count, at least 3
        warmup: rounds before them that do not count
        dtype: of weights and waveforms
        batch_size: above 1, throughput in batches of this many is measured, too
        utterances_per_bucket: only so many of each bucket's eight, for a quick look
        name: of the upstream in tables
        against_name: the same for the other one
        normalize: yes or no: whether waveforms are normalised first, in place of what both say
        device: where it is computed; cuda where there is one, else cpu
        threads: CPU threads
    """
    place = pick_device(device)
    folder = None if output is None else check_folder_output(output)
    from ..latency import summary, time_table, time_upstreams, write_time_record

    record = time_upstreams(
        model,
        against,
        name=name,
        against_name=against_name,
        repeats=repeats,
        warmup=warmup,
        threads=threads,
        dtype=dtype,
        device=place,
        batch_size=batch_size,
        utterances_per_bucket=utterances_per_bucket,
        normalize=normalize,
    )
    path = None if folder is None else write_time_record(record, folder)
    figures = summary(record) | {"record": None if path is None else str(path)}
    kept = (f"record: {path}", f"next: s3prl-compress report {output}")
    hints = ("to keep the figures: add --output DIR",) if path is None else kept
    return CommandResult(figures, time_table(record), hints)


def run(
    suite: str,
    *,
    output: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    only: str | None = None,
    dry_run: bool = False,
    cluster: Literal["slurm", "local"] | None = None,
) -> CommandResult:
    """Run a whole suite: upstreams x tasks x engines x seeds, timing, and the report.

    Started again, it goes on: whatever is complete in the output folder is not done again. Every
    cell is done in another process; one that fails does not stop the others, and the exit code
    is 1 then.

    Args:
        suite: YAML file, or the name of a packaged one, such as demo
        output: folder, in place of the one that the file names
        device: in place of the file's; cuda where there is one, else cpu
        threads: CPU threads, in place of the file's
        only: cells of these titles, upstreams, tasks, engines or kinds (upstream, score, time),
            with what they need; patterns as of a shell, commas between
        dry_run: only list the cells, with an estimate of time and disk
        cluster: do the cells as jobs, with the resources of the file's cluster section; slurm, or
            local for processes on this machine
    """
    from ..suite import run_suite

    return run_suite(
        suite,
        output=output,
        device=device,
        threads=threads,
        only=only,
        dry_run=dry_run,
        cluster=cluster,
    )


def report(folder: str, *, output: str | None = None) -> CommandResult:
    """Write leaderboard.md, .csv, .tex and .html from a folder of records.

    Args:
        folder: where `score` and `time` wrote; searched through and through
        output: folder for the four files; by default the same
    """
    if output is not None:
        check_folder_output(output)
    from ..report import report as publish

    paths = [str(path) for path in publish(folder, output)]
    return CommandResult({"files": paths}, "\n".join(paths), (f"open: {paths[-1]}",))


COMMANDS: dict[str, Command] = {
    "ls": Command(ls, ("ls methods", "ls methods clustering", "ls tasks --json")),
    "inspect": Command(inspect, ("inspect hubert_base --json", "inspect out/fold10")),
    "random": Command(random, ("random hubert_small --seed 0 --output out/random_small",)),
    "compress": Command(
        compress,
        (
            "compress MODEL --method clustering --sparsity 0.1 --output out/fold10",
            "compress out/fold10 --method low_rank --help",
            "compress MODEL --method structured --audio DIR --sparsity 0.5 --output out/half",
            "compress MODEL --method clustering --sparsity 0.5 --then distill --audio DIR "
            "--output out/fold50",
            "compress hubert_demo --recipe structured_hubert_demo --audio DIR --output out/half",
        ),
        extra=settings_of_method,
    ),
    "export": Command(
        export,
        (
            "export hubert_demo --format transformers --output out/hubert_demo_hf",
            "export MODEL --format checkpoint --dtype float16 --output out/half",
        ),
    ),
    "prepare": Command(
        prepare,
        (
            "prepare ks METADATA.csv --output corpora/ks",
            "prepare ks demo --output corpora/demo",
            "prepare er IEMOCAP --output corpora/er",
        ),
        tasks=(),
    ),
    "score": Command(
        score,
        (
            "score out/fold10 --task ks --data corpora/ks --engine onepass --recipe smoke "
            "--output results/",
            "score out/fold10 --task er --data corpora/er --seeds 0-9",
            "score out/tuned --task ctc --data LibriSpeech/test-clean",
        ),
        tasks=("ctc",),
    ),
    "check": Command(
        check,
        ("check out/small --against MODEL --task ks --data demo --margin 2",),
        tasks=("ctc",),
    ),
    "time": Command(time, ("time out/fold10 --against MODEL --output results/",)),
    "run": Command(
        run,
        (
            "run recipes/demo.yaml",
            "run demo --output out/demo --only 'ks*onepass*' --dry-run",
            "run recipes/superb.yaml --cluster slurm",
        ),
    ),
    "report": Command(report, ("report results/",)),
}
"""What the console script knows, in the order in which it is used."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script; returns the exit code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    return console.run(COMMANDS, argv)
