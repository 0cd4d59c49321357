"""Commands that evaluate encoders: `prepare`, `score`, `time`, `run`, `report`.

Signatures are the options and docstrings the help. Heavy imports stand inside the functions, so
that `--help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..common.command_result import CommandResult
from ..common.extras import require_extra
from ..common.file_hashes import read_all_files
from ..common.validation import check_folder_output, pick_device, use_threads


def prepare(task: str, metadata: str, *, output: str) -> CommandResult:
    """Convert a table of recordings into the corpus layout that a task reads.

    Args:
        task: name of a task, see `ls tasks`
        metadata: csv table with the columns file, label, speaker and split (train, valid or test;
            session1 to session5 for er). In place of label, asr takes text (or transcript), pr
            phonemes, and ic action, object and location. Or the folder of IEMOCAP (er), of Fluent
            Speech Commands (ic), or of LibriSpeech with s3prl's two lexicons in it (pr); or the
            word demo for the generated speech that is part of this package
        output: folder of the corpus; left unchanged if it already holds the same corpus
    """
    check_folder_output(output)
    from ..tasks.registry import corpus_figures, prepare_corpus

    data = corpus_figures(prepare_corpus(task, metadata, Path(output)), task)
    sizes = ", ".join(f"{count} {split}" for split, count in data["sizes"].items())
    return CommandResult(
        data,
        f"{data['name']} ({data['variant']}, {len(data['classes'])} classes): {sizes}",
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
    lm: str | None = None,
    lexicon: str | None = None,
    lm_dev: str | None = None,
    lm_weight: float | None = None,
    word_score: float | None = None,
    beam: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    verify: bool = False,
    **options: str,
) -> CommandResult:
    """Score an encoder on a downstream task and write a result record.

    If the output folder already holds the record of the same model, task, corpus, settings and
    seed, it is reused.

    Args:
        model: checkpoint folder, transformers folder, s3prl-converted .pt file, or hub id; for the
            task whisper, a Whisper model (folder, hub id, or openai's .pt file)
        data: folder of the corpus; a csv table of recordings, converted as by `prepare` on first
            use; or the word demo for the generated speech that is part of this package. For ctc
            and whisper a folder in LibriSpeech's layout, a csv table, or several of these,
            separated by commas: every test set becomes a record
        task: name of a task, see `ls tasks`; ctc measures the error rates of MODEL's own CTC head
            in words and characters, whisper those of a Whisper model; both accept none of engine,
            recipe, seed, seeds, padding and cache. `--task NAME --help` shows a task's own options
        engine: onepass runs the encoder once and takes minutes; s3prl runs the official downstream
            and takes hours to days
        recipe: settings of the head's training: smoke (minutes), official (SUPERB's), or a YAML
            file
        output: folder of result records, and of the corpus if it has to be converted
        seed: random seed of the head's weights and batches; 0 if neither seed nor seeds is given
        seeds: several random seeds, such as 0-9 or 0,3,5; onepass trains them together
        padding: how shorter utterances in a batch are padded: independent makes features
            independent of the batch, fairseq reproduces s3prl; by default as in the recipe
        name: name of the upstream in tables; by default that of MODEL
        force: score again even if the record exists
        cache: folder of cached features, to share them between output folders
        normalize: whether waveforms are scaled to zero mean and unit variance before the encoder;
            overrides what MODEL says
        lm: for ctc, an n-gram language model (ARPA, or a KenLM binary): every test set is scored
            greedily, and once more by beam search with it
        lexicon: words that the beam search may write: lm for those of the ARPA file (the default),
            a file with one word per line, or none for a language model of characters
        lm_dev: transcribed speech on which the weight of the language model and the word score are
            tuned, by word error rate; by default the dev split that belongs to the test set
        lm_weight: weight of the language model (of its log10 probabilities), in place of tuning
        word_score: score of each word, in place of tuning
        beam: number of hypotheses that the beam search keeps; 50 by default
        device: torch device to compute on, such as cpu or cuda; by default cuda if it is available,
            otherwise cpu
        threads: number of CPU threads; by default torch's own choice
        verify: read all files of a large corpus, even those that look unchanged
    """
    use_threads(threads)
    chosen_device, folder = pick_device(device), check_folder_output(output)
    if verify:
        read_all_files()
    from .scoring import language_model_options, score_and_summarize

    language_model = language_model_options(
        lm, lexicon=lexicon, dev=lm_dev, weight=lm_weight, word_score=word_score, beam=beam
    )
    return score_and_summarize(
        model,
        task,
        seed,
        seeds,
        data=data,
        output=folder,
        engine=engine,
        recipe=recipe,
        device=chosen_device,
        padding=padding,
        name=name,
        force=force,
        cache=cache,
        normalize=normalize,
        options=options,
        language_model=language_model,
    )


def task_options(*, task: str | None = None) -> dict[str, str | None]:
    """Return a task's own options with their help texts; none if the task is left out."""
    if task is None:
        return {}
    from ..tasks.registry import find_task

    found = find_task(task)
    if found.trains_head:
        return {}
    from .listing import setting_helps

    return dict(setting_helps(found.load_own_head().options))


def time(
    model: str,
    *,
    against: str | None = None,
    output: str | None = None,
    repeats: int = 10,
    warmup: int = 2,
    dtype: Literal["float32", "bfloat16"] = "float32",
    batch_size: int | None = None,
    utterances_per_bucket: int | None = None,
    new_tokens: int | None = None,
    name: str | None = None,
    against_name: str | None = None,
    normalize: bool | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> CommandResult:
    """Measure the speed of an encoder or a Whisper model, alone or in turns with another one.

    Of a Whisper model, the encoder by itself and `generate` with a forced number of tokens are
    measured, on windows of 30 s.

    Args:
        model: checkpoint folder, transformers folder, s3prl-converted .pt file, or hub id; or a
            Whisper model
        against: encoder to compare with, usually the dense upstream that MODEL was made from
        output: folder of result records; without it, the result is printed and not saved
        repeats: number of measured rounds, at least 3
        warmup: number of rounds before the measured ones
        dtype: number format of weights and waveforms
        batch_size: number of utterances in a batch; above 1, throughput in such batches is measured
            in addition to single utterances; by default 1, for Whisper models 16
        utterances_per_bucket: number of utterances of each length bucket to use, at most 8 (the
            default); fewer give a quick, less precise result; not for Whisper models
        new_tokens: for Whisper models only: number of tokens that are written for every window,
            whatever is said there; by default 64
        name: name of MODEL in tables
        against_name: name of the encoder to compare with in tables
        normalize: whether waveforms are scaled to zero mean and unit variance before the encoder;
            overrides what both encoders say
        device: torch device to measure, such as cpu or cuda; by default cuda if it is available,
            otherwise cpu
        threads: number of CPU threads; by default torch's own choice
    """
    chosen_device = pick_device(device)
    folder = None if output is None else check_folder_output(output)
    from ..latency import summary, time_table, write_time_record
    from .timing import time_models

    record = time_models(
        model,
        against,
        name=name,
        against_name=against_name,
        repeats=repeats,
        warmup=warmup,
        threads=threads,
        dtype=dtype,
        device=chosen_device,
        batch_size=batch_size,
        utterances_per_bucket=utterances_per_bucket,
        new_tokens=new_tokens,
        normalize=normalize,
    )
    path = None if folder is None else write_time_record(record, folder)
    data = summary(record) | {"record": None if path is None else str(path)}
    next_steps: tuple[str, ...] = ("to save the result: add --output DIR",)
    if path is not None:
        next_steps = (f"record: {path}", f"next: s3prl-compress report {output}")
    return CommandResult(data, time_table(record), next_steps)


def run(
    suite: str,
    *,
    output: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    only: str | None = None,
    dry_run: bool = False,
    cluster: str | None = None,
    verify: bool = False,
) -> CommandResult:
    """Run a suite: a grid of upstreams x tasks x engines x seeds, with timing and a report.

    If the command is interrupted, run it again to resume: everything that is complete in the output
    folder is skipped. Each cell of the grid runs in a worker process. A cell that fails does not
    stop the others; the exit code is then 1.

    Args:
        suite: YAML file, or the name of a packaged suite, such as demo
        output: output folder; overrides the suite
        device: torch device to compute on, such as cpu or cuda; overrides the suite; by default
            cuda if it is available, otherwise cpu
        threads: number of CPU threads; overrides the suite
        only: run only the cells that match one of these shell patterns (separated by commas), and
            the upstreams that they need; a pattern matches a cell's title, upstream, task,
            corpus (where a task has several), engine or kind (upstream, score, time)
        dry_run: list the cells with an estimate of time and disk space, and run nothing
        cluster: slurm, to run the cells as jobs with the resources in the suite's section cluster
        verify: read all files of large corpora, even those that look unchanged
    """
    if verify:
        read_all_files()
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
    """Write leaderboard.md, .csv, .tex and .html from a folder of result records.

    Args:
        folder: folder that `score`, `time` or `run` wrote to; subfolders are searched too
        output: folder for the four files; by default the same as folder
    """
    require_extra("report", "report")
    if output is not None:
        check_folder_output(output)
    from ..report.publish import write_report

    written = write_report(folder, output)
    paths = [str(path) for path in written.files]
    data = {"files": paths, "layer_weights": written.layer_weights}
    return CommandResult(data, "\n".join(paths), (f"open: {paths[-1]}",))
