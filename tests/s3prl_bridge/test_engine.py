from __future__ import annotations

import builtins
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from filelock import FileLock

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.s3prl_bridge import child, engine
from s3prl_compress.tasks.base.engine import EngineResult, Job
from s3prl_compress.tasks.base.task import Settings
from s3prl_compress.tasks.registry import find_task, open_corpus

pytestmark = pytest.mark.s3prl

SETTINGS = Settings(total_steps=12, batch_size=8, eval_step=4, learning_rates=(1e-2,))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Children take this process's number of threads: theirs would fight for the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def _no_bars() -> Iterator[None]:
    """s3prl counts its steps by a progress bar: without bars it must end all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TQDM_DISABLE", "1")
        yield


@pytest.fixture(scope="module")
def job(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("engine")
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    return Job(
        encoder=encoder,
        checkpoint=save(encoder, folder / "tiny"),
        task=find_task("ks"),
        corpus=open_corpus(tiny_corpus),
        settings=SETTINGS,
        seed=0,
        padding="independent",
        work=folder / "work",
        device="cpu",
    )


@pytest.fixture(scope="module")
def result(job: Job) -> EngineResult:
    return engine.run(job)


def _log(work: Path, rate: str = "0.01") -> str:
    return (work / f"learning_rate_{rate}" / "experiment" / "log.log").read_text()


def test_a_run_end_to_end(job: Job, result: EngineResult) -> None:
    files = [(file, truth) for file, truth, _ in result.predictions]
    assert len(files) == 48
    assert files[0] == ("_silence_/0.wav", "_silence_")
    assert sorted({truth for _, truth in files}) == sorted(job.corpus.classes)
    assert {predicted for _, _, predicted in result.predictions} <= set(job.corpus.classes)
    assert result.learning_rate == 0.01
    assert result.dev_score == result.rates[0].dev_score > 0
    assert result.rates[0].best_step in (4, 8, 12)
    assert f"New best on dev at step {result.rates[0].best_step}" in _log(job.work)
    assert _log(job.work).count("test at step") == 1
    assert not result.approximate
    assert not result.resumed
    assert result.folds == ()
    assert set(result.seconds) == {"start", "train", "test"}


def test_the_process_that_asked_is_unchanged(job: Job, result: EngineResult) -> None:
    assert isinstance({}, dict)
    assert builtins.isinstance.__module__ == "builtins"
    assert not Path("result").exists()
    assert result.predictions


def test_a_finished_run_is_not_run_again(
    job: Job, result: EngineResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a child was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert engine.run(job) == result
    with pytest.raises(AssertionError, match="a child was started"):
        engine.run(dataclasses.replace(job, padding="fairseq"))
    engine_folder = job.work / "learning_rate_0.01"
    assert not (engine_folder / "result.json").exists()  # another run's results are gone


def test_a_sweep_tests_the_best_rate_and_a_seed_repeats(
    job: Job, result: EngineResult, tmp_path: Path
) -> None:
    rates = Settings(**SETTINGS.model_dump() | {"learning_rates": (1e-6, 1e-2)})
    # Without a checkpoint folder the engine writes one.
    sweep = engine.run(
        dataclasses.replace(job, settings=rates, work=tmp_path / "sweep", checkpoint=None)
    )
    assert [rate.learning_rate for rate in sweep.rates] == [1e-6, 1e-2]
    assert sweep.rates[1] == result.rates[0]
    assert sweep.learning_rate == max(sweep.rates, key=lambda rate: rate.dev_score).learning_rate
    assert sweep.dev_score == max(rate.dev_score for rate in sweep.rates)
    if sweep.learning_rate == 1e-2:
        assert sweep.predictions == result.predictions
        assert "test at" not in _log(tmp_path / "sweep", "1e-06")


def test_another_seed_is_another_run(job: Job, result: EngineResult, tmp_path: Path) -> None:
    other = engine.run(dataclasses.replace(job, seed=1, work=tmp_path / "other"))
    assert other.predictions != result.predictions
    assert other.rates != result.rates


def test_a_killed_run_is_resumed_and_says_so(job: Job, tmp_path: Path) -> None:
    long = Settings(**SETTINGS.model_dump() | {"total_steps": 150, "eval_step": 10})
    long_job = dataclasses.replace(job, settings=long, work=tmp_path / "killed")
    ((run,),) = engine._plan(long_job)
    (run.folder / "task.json").write_text(run.task.model_dump_json())
    module = "s3prl_compress.s3prl_bridge.child"
    command = [sys.executable, "-m", module, str(run.folder), str(os.getpid())]
    with (run.folder / "child.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None and not [*run.folder.glob("experiment/states-*.ckpt")]:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (run.folder / "result.json").exists()
    result = engine.run(long_job)
    assert len(result.predictions) == 48
    (note,) = [note for note in result.notes if "resumed at step" in note]
    step = int(note.partition("resumed at step ")[2].partition(":")[0])
    assert 10 <= step < 150
    assert result.resumed
    lines = _log(long_job.work).splitlines()
    assert [line for line in lines if line.startswith(f"dev at step {step + 10}:")]
    assert [line for line in lines if line.startswith("dev at step 150:")]


def test_ten_digits_are_a_declared_variant(
    job: Job, tiny_digits_corpus: Path, tmp_path: Path
) -> None:
    corpus = open_corpus(tiny_digits_corpus)
    result = engine.run(dataclasses.replace(job, corpus=corpus, work=tmp_path / "digits"))
    assert {truth for _, truth, _ in result.predictions} == set(corpus.classes)
    assert {predicted for _, _, predicted in result.predictions} <= set(corpus.classes)
    assert [note for note in result.notes if "variant" in note]


def test_wrong_audio_is_one_line_and_anything_else_shows_the_log(
    job: Job, tiny_corpus: Path, tmp_path: Path
) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(tiny_corpus, root)
    wrong = sorted((root / "speech_commands_test" / "yes").glob("*.wav"))[0]
    soundfile.write(wrong, torch.zeros(4000).numpy(), 8000)
    quick = Settings(**SETTINGS.model_dump() | {"total_steps": 2, "eval_step": 2, "num_workers": 2})
    wrong_job = dataclasses.replace(
        job, corpus=open_corpus(root), settings=quick, work=tmp_path / "wrong"
    )
    with pytest.raises(InputError, match=f"{wrong.name}: sampled at 8000 Hz") as caught:
        engine.run(wrong_job)
    assert len(str(caught.value).splitlines()) == 1
    broken = dataclasses.replace(job, device="no_such_device", work=tmp_path / "broken")
    with pytest.raises(RuntimeError, match="no_such_device") as failure:
        engine.run(broken)
    assert "child.log" in str(failure.value)


def test_two_processes_never_share_a_folder(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = engine._plan(dataclasses.replace(job, work=tmp_path))[0][0].task
    (tmp_path / "task.json").write_text(task.model_dump_json())
    monkeypatch.setattr(child, "_LOCK_SECONDS", 0.1)
    with FileLock(tmp_path / "lock"):
        assert child.main(tmp_path) == 2
    assert "another process works in this folder" in (tmp_path / "error.txt").read_text()
    assert not (tmp_path / "result.json").exists()
