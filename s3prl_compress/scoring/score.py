"""`score`: one cell, from a checkpoint and a corpus to a record on disk."""

from __future__ import annotations

import importlib
import shutil
import time
from pathlib import Path

from torch import nn

from ..encoder import (
    PADDINGS,
    SpeechEncoder,
    describe,
    is_checkpoint,
    load_unless_loaded,
    read_config,
    save,
)
from ..encoder.guest import Guest
from ..errors import InputError
from ..outputs import pick_device
from ..reporting.records import Engine, Padding, ScoreRecord, Upstream
from .cell import cell_stem, finished_record, make_record, write_cell
from .corpora.opening import open_corpus
from .engine import Job, RunJob
from .own_head import score_own_head
from .task import OWN_HEAD, TASKS, load_settings

_ENGINE_MODULES = {
    "onepass": "s3prl_compress.scoring.onepass",
    # Imported on use only: s3prl takes seconds to import and changes global state.
    "s3prl": "s3prl_compress.s3prl_bridge.engine",
}
WORK_FOLDER = ".work"
"""Below the output folder: what engines keep to resume from, and the features that cells share."""


def score(
    source: str | Path | SpeechEncoder | Guest,
    task: str = "ks",
    *,
    data: str | Path,
    output: str | Path,
    engine: Engine = "onepass",
    recipe: str | Path = "smoke",
    seed: int = 0,
    device: str | None = None,
    padding: Padding | None = None,
    name: str | None = None,
    force: bool = False,
    cache: str | Path | None = None,
    normalize: bool | None = None,
) -> ScoreRecord:
    """Score an encoder on a task and return the record, which is written to `output`.

    A cell whose complete record lies in `output` already is not run again: its identity is what
    it is made of (encoder, corpus, task, settings, seed, engine, padding), not when or where.

    Args:
        source: what `s3prl_compress.load` takes, an encoder, or an upstream that is not ours: its
            batches are s3prl's, so its padding is fairseq's.
        task: name of a task, see `TASKS`; or `ctc`, see `own_head.score_own_head`, for which
            engine, recipe, seed, padding and cache have no meaning and stay as they are.
        data: the corpus folder, see `prepare`.
        output: folder of records. Beside `<stem>.json` stands `<stem>.csv`, the predictions.
        engine: "onepass" or "s3prl".
        recipe: "smoke", "official" or a YAML file, see `load_settings`.
        seed: of the head's initial weights and of the batches.
        device: as torch names it; cuda where there is one, else the CPU.
        padding: the recipe's if None.
        name: of the upstream in tables; by default the last part of `source`.
        force: run the cell from its start even if its record is there. Features are kept: they
            are known by their content.
        cache: folder of features, to share them between output folders.
        normalize: whether waveforms are normalised, in place of what the checkpoint says; for
            what is loaded here.

    Raises:
        InputError: one line: an unknown name, a recipe, corpus or checkpoint that cannot be used.
    """
    if task == OWN_HEAD.name:
        _nothing_to_train(engine=engine, recipe=recipe, seed=seed, padding=padding, cache=cache)
        return score_own_head(
            source,
            data=data,
            output=output,
            device=device,
            name=name,
            force=force,
            normalize=normalize,
        )
    if task not in TASKS:
        names = ", ".join([*sorted(TASKS), OWN_HEAD.name])
        raise InputError(f"task {task}: not known; give one of {names}")
    declaration = TASKS[task]
    settings, recipe_name = load_settings(task, recipe, engine)
    device = pick_device(device)
    if seed < 0:
        raise InputError(f"seed {seed}: must not be below 0")
    padding = source.padding if isinstance(source, Guest) else padding or settings.padding
    if padding not in PADDINGS:
        raise InputError(f"padding {padding}: choose one of {', '.join(PADDINGS)}")
    corpus = open_corpus(data, task)
    corpus.check()
    if isinstance(source, Guest) and (task, engine) == ("asr", "onepass"):
        raise InputError(
            f"{name or source.upstream}: asr, onepass: how many frames an upstream of s3prl's "
            "own makes is not known beforehand; use the engine s3prl"
        )
    encoder = load_unless_loaded(source, padding=padding, normalize=normalize)
    upstream = _describe(encoder, source, name)
    settings = settings.model_copy(update={"padding": padding})
    output = Path(output)
    stem = cell_stem(upstream, corpus, declaration, settings, engine, seed)
    if not force and (finished := finished_record(output, stem)) is not None:
        return finished
    work = output / WORK_FOLDER / stem
    if force:  # an engine must not find its own finished work there
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    job = Job(
        encoder=encoder,
        checkpoint=_checkpoint(encoder, source, work) if engine == "s3prl" else None,
        upstream=encoder.upstream if isinstance(encoder, Guest) else "compressed",
        corpus=corpus,
        settings=settings,
        seed=seed,
        padding=padding,
        work=work,
        device=device,
        cache=Path(cache) if cache is not None else None,
    )
    run: RunJob = importlib.import_module(_ENGINE_MODULES[engine]).run
    started = time.perf_counter()
    result = run(job)
    total = time.perf_counter() - started
    record = make_record(job, result, upstream, declaration, engine, recipe_name, stem, total)
    write_cell(record, result, output)
    shutil.rmtree(work / "upstream", ignore_errors=True)
    return record


def _nothing_to_train(**given: object) -> None:
    usual = {"engine": "onepass", "recipe": "smoke", "seed": 0}
    named = [key for key, value in given.items() if value != usual.get(key)]
    if named:
        raise InputError(
            f"task {OWN_HEAD.name}: nothing is trained, so it takes no {', '.join(named)}; leave "
            "that out"
        )


def _describe(
    encoder: SpeechEncoder | Guest, source: str | Path | SpeechEncoder | Guest, name: str | None
) -> Upstream:
    if isinstance(encoder, Guest):
        return encoder.describe(name or encoder.upstream)
    if isinstance(source, nn.Module):
        return describe(encoder, name or "encoder", encoder.provenance.base)
    text = str(source)
    return describe(encoder, name or Path(text.rstrip("/")).name.removesuffix(".pt"), text)


def _checkpoint(
    encoder: SpeechEncoder | Guest, source: str | Path | SpeechEncoder | Guest, work: Path
) -> Path | None:
    """Return a folder of ours with the encoder, for an engine that runs in another process."""
    if isinstance(encoder, Guest):
        return encoder.checkpoint
    if (
        not isinstance(source, nn.Module)
        and is_checkpoint(source)
        and read_config(source).normalize == encoder.normalize
    ):
        return Path(source)
    return save(encoder, work / "upstream")
