"""Speaker identification, emotion recognition and speech recognition, end to end and in parts."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.s3prl_bridge import child, engine, process
from s3prl_compress.s3prl_bridge.compat import apply_patches
from s3prl_compress.s3prl_bridge.downstream import Downstream, read_as_corpora_do
from s3prl_compress.tasks.base.corpus import Corpus
from s3prl_compress.tasks.base.engine import EngineResult, Job
from s3prl_compress.tasks.base.task import RecognitionHead, Settings
from s3prl_compress.tasks.er import corpus as emotions
from s3prl_compress.tasks.registry import available_tasks, find_task, open_corpus
from s3prl_compress.tasks.sid.downstream import list_files_afresh

from ..support.forked import ForkServer
from ..support.small_corpora import write_emotions, write_speakers, write_transcripts

pytestmark = pytest.mark.s3prl

SETTINGS = Settings(
    total_steps=4,
    batch_size=2,
    accumulation=2,
    eval_step=2,
    learning_rates=(1e-2,),
    longest_seconds=0.3,
    recognition=RecognitionHead(project_dim=8, rnn_dim=8, rnn_layers=1),
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Children take this process's number of threads: theirs would fight for the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def _forked() -> Iterator[None]:
    """Start children as forks, whose imports are made; `test_engine` starts them as they are."""

    def run(folder: Path, log: Path, title: str, total: int) -> int:
        code = (
            "import pathlib, sys; from s3prl_compress.s3prl_bridge.child import main; "
            f"sys.exit(main(pathlib.Path({str(folder)!r})))"
        )
        return server.run(code, folder, log, log)

    imports = "from s3prl_compress.s3prl_bridge import child, compat; compat.apply_patches()"
    with ForkServer(imports) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "_run", run)
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path_factory.mktemp("tiny") / "c")


@pytest.fixture
def two_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fold is a child: two of them show what five would."""
    monkeypatch.setattr(emotions, "FOLDS", (1, 2))


def _job(task: str, corpus: Corpus, checkpoint: Path, work: Path, **changes: Any) -> Job:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    job = Job(encoder, checkpoint, find_task(task), corpus, SETTINGS, 0, "independent", work, "cpu")
    return dataclasses.replace(job, **changes)


def _names(corpus: Corpus) -> list[tuple[str, str]]:
    return [(corpus.utterance_name(item), item.label) for item in corpus.test_items()]


def _adapter(task: str) -> Downstream:
    adapter: Downstream = resolve_name(find_task(task).downstream)()
    return adapter


def test_every_task_that_trains_a_head_has_a_downstream() -> None:
    for task in available_tasks().values():
        if task.trains_head:
            assert _adapter(task.name).name == task.s3prl


def test_speakers_end_to_end(checkpoint: Path, tmp_path: Path) -> None:
    corpus = open_corpus(write_speakers(tmp_path / "corpus", 3), "sid")
    corpus.check()
    result = engine.run(_job("sid", corpus, checkpoint, tmp_path / "work"))
    assert [row[:2] for row in result.predictions] == _names(corpus)
    assert {row[2] for row in result.predictions} <= set(corpus.classes)
    assert result.rates[0].best_step in (2, 4)
    assert 0 < result.dev_score <= 100
    assert not list((tmp_path / "work").rglob("*.ckpt"))
    assert not list((tmp_path / "work").rglob("*.pkl"))


def test_intents_end_to_end(checkpoint: Path, tiny_intents: Path, tmp_path: Path) -> None:
    corpus = open_corpus(tiny_intents, "ic")
    corpus.check()
    result = engine.run(_job("ic", corpus, checkpoint, tmp_path / "work"))
    assert [row[:2] for row in result.predictions] == _names(corpus)
    for _, _, predicted in result.predictions:
        assert all(
            value in slot
            for value, slot in zip(corpus.values(predicted), corpus.slots, strict=True)
        )
    assert 0 <= result.dev_score <= 100


def test_a_second_speaker_corpus_is_not_taken_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply_patches()
    dataset = importlib.import_module("s3prl.downstream.voxceleb1.dataset")
    expert = importlib.import_module("s3prl.downstream.voxceleb1.expert")
    monkeypatch.setattr(expert, "SpeakerClassifiDataset", dataset.SpeakerClassifiDataset)
    monkeypatch.setattr(dataset, "CACHE_PATH", str(tmp_path / "cache"))
    for speakers in (2, 4):
        corpus: Any = open_corpus(write_speakers(tmp_path / str(speakers), speakers), "sid")
        paths = corpus.audio_root, str(corpus.split_file)
        list_files_afresh(len(corpus.classes))
        found = expert.SpeakerClassifiDataset("train", *paths, 1000)
        assert found.speaker_num == speakers
        assert found.dataset == [str(item.path) for item in corpus.items("train")]
        assert [found.label2speaker([label])[0] for label in found.label] == [
            item.label for item in corpus.items("train")
        ]
        assert found[0][0].shape == (1000,)
    assert not (tmp_path / "cache").exists()
    corpus.items("dev")[0].path.unlink()
    with pytest.raises(InputError, match=r"listed, but missing; correct the list"):
        expert.SpeakerClassifiDataset("dev", *paths)


def test_emotions_end_to_end_fold_by_fold(
    checkpoint: Path, tmp_path: Path, two_folds: None
) -> None:
    corpus = open_corpus(write_emotions(tmp_path / "corpus"), "er")
    # A learning rate that leaves the head as it was built: see below.
    settings = SETTINGS.model_copy(update={"learning_rates": (1e-12,)})
    job = _job("er", corpus, checkpoint, tmp_path / "work", settings=settings)
    result = engine.run(job)
    assert [row[:2] for row in result.predictions] == _names(corpus)
    assert [(fold.fold, fold.test_size) for fold in result.folds] == [(1, 8), (2, 8)]
    assert result.dev_score == sum(fold.dev_score for fold in result.folds) / 2
    assert all(fold.dev_score == round(fold.dev_score, 4) for fold in result.folds)
    second = [truth == predicted for _, truth, predicted in result.predictions[8:]]
    assert result.folds[1].score == 100 * sum(second) / 8
    # s3prl's expert seeds torch with 0 before it builds its head: seeds must differ all the same.
    part = engine._plan(dataclasses.replace(job, seed=1, work=tmp_path / "other"))[0][0]
    engine._child(part, test=False)
    losses = [_first_loss(folder / part.folder.name) for folder in (job.work, tmp_path / "other")]
    assert abs(losses[0] - losses[1]) > 1e-4


def test_the_emotions_that_s3prl_trains_on_are_the_corpus(tmp_path: Path) -> None:
    apply_patches()
    corpus = open_corpus(write_emotions(tmp_path), "er")
    config = _adapter("er").config(corpus, SETTINGS, 1e-3, fold=3, files=tmp_path)
    expert = importlib.import_module("s3prl.downstream.emotion.expert").DownstreamExpert(
        8, config["downstream_expert"], expdir=str(tmp_path)
    )
    for split in ("train", "dev"):
        part = getattr(expert, f"{split}_dataset")
        paths = [part.dataset.meta_data[index]["path"] for index in part.indices]
        assert paths == [item.relative for item in corpus.items(split, 3)]


def test_transcripts_end_to_end_at_a_word_error_rate_of_100(
    checkpoint: Path, tmp_path: Path
) -> None:
    texts = ("SIXTEEN TONES", "IT'S ONE")
    corpus = open_corpus(write_transcripts(tmp_path / "corpus", texts, train=5), "asr")
    corpus.check()
    job = _job("asr", corpus, checkpoint, tmp_path / "work")
    result = engine.run(job)
    assert [row[:2] for row in result.predictions] == _names(corpus)
    assert result.predictions[1][1] == "IT'S ONE"
    # An untrained head writes no right word: s3prl keeps no best checkpoint, the newest is tested.
    assert result.dev_score == 100
    assert result.rates[0].best_step == 4
    (note,) = [note for note in result.notes if "left out" in note]
    assert note.startswith("The shortest training utterance")
    metrics = (job.work / "learning_rate_0.01" / "experiment" / "metrics.jsonl").read_text()
    assert "asr/test-clean-wer" in metrics
    assert not list(job.work.rglob("*.ckpt"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("task", ["sid", "er", "asr"])
def test_on_a_gpu(task: str, checkpoint: Path, tmp_path: Path, two_folds: None) -> None:
    write = {
        "sid": lambda root: write_speakers(root, 3),
        "er": write_emotions,
        "asr": lambda root: write_transcripts(root, ("ONE", "TWO TWO"), train=5),
    }
    corpus = open_corpus(write[task](tmp_path / "corpus"), task)
    result = engine.run(_job(task, corpus, checkpoint, tmp_path / "work", device="cuda"))
    assert [row[:2] for row in result.predictions] == _names(corpus)
    assert [note for note in result.notes if "On a GPU" in note] or task != "asr"


def test_too_few_transcripts_would_train_for_ever(tmp_path: Path) -> None:
    corpus = open_corpus(write_transcripts(tmp_path, ("ONE",), train=1), "asr")
    with pytest.raises(InputError, match="train has 1 utterances") as caught:
        _adapter("asr").config(corpus, SETTINGS, 1e-3, fold=0, files=tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_best_checkpoint_gives_its_score_and_frees_the_others(tmp_path: Path) -> None:
    runner: Any = SimpleNamespace(
        load_head=lambda path: 7 if path.name == "dev-clean-best.ckpt" else 9,
        downstream=SimpleNamespace(model=SimpleNamespace(best_score=torch.tensor([12.5]))),
    )
    (tmp_path / "states-9.ckpt").touch()
    asr, ks = _adapter("asr"), _adapter("ks")
    assert child._load_best(runner, asr, tmp_path) == (9, 100.0)
    assert child._load_best(runner, ks, tmp_path) == (9, 0.0)
    child._remove_states(tmp_path, asr)
    assert (tmp_path / "states-9.ckpt").exists()  # the only one
    (tmp_path / "dev-clean-best.ckpt").touch()
    assert child._load_best(runner, asr, tmp_path) == (7, 12.5)
    child._remove_states(tmp_path, asr)
    assert not (tmp_path / "states-9.ckpt").exists()


def test_a_run_killed_between_training_and_test_is_not_trained_again(
    checkpoint: Path, tmp_path: Path
) -> None:
    corpus = open_corpus(write_speakers(tmp_path / "corpus", 2), "sid")
    job = _job("sid", corpus, checkpoint, tmp_path / "work")
    ((part,),) = engine._plan(job)
    trained = engine._child(part, test=False)
    assert trained.predictions is None
    experiment = part.folder / "experiment"
    assert [path.name for path in experiment.glob("*.ckpt")] == ["dev-best.ckpt"]
    log = (experiment / "log.log").read_text()
    result = engine.run(job)
    assert (experiment / "log.log").read_text().startswith(log)
    assert "train" not in (experiment / "log.log").read_text()[len(log) :]
    assert [row[:2] for row in result.predictions] == _names(corpus)
    assert result.seconds["train"] == trained.seconds["train"]
    assert not result.resumed


def test_a_run_resumed_once_stays_resumed(tmp_path: Path) -> None:
    assert child._first_resumption(tmp_path, 0, 100) == 0
    assert child._first_resumption(tmp_path, 100, 100) == 0  # killed when nothing was left to train
    assert child._first_resumption(tmp_path, 40, 100) == 40
    assert child._first_resumption(tmp_path, 60, 100) == 40
    assert child._first_resumption(tmp_path, 100, 100) == 40


@pytest.mark.parametrize(("task", "best"), [("er", 1e-2), ("asr", 1e-1)])
def test_one_rate_for_all_folds_by_the_mean_of_dev(
    task: str,
    best: float,
    checkpoint: Path,
    tmp_path: Path,
    two_folds: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = open_corpus(
        write_emotions(tmp_path / "corpus")
        if task == "er"
        else write_transcripts(tmp_path / "corpus", ("ONE",), train=4),
        task,
    )
    # By rate: of two folds the first rate has the best one, the second the best mean.
    scores = {0.1: (90.0, 10.0), 0.01: (60.0, 60.0), 0.001: (60.0, 60.0)}
    asked: list[tuple[str, bool]] = []

    def run_child(folder: Path, task: child.ChildTask, title: str) -> child.ChildResult:
        asked.append((folder.name, task.test))
        rate, fold = task.config["optimizer"]["lr"], int(folder.name.partition("fold_")[2] or 0)
        score = scores[rate][fold - 1] if fold else scores[rate][1]
        items = corpus.items("test", fold)
        return child.ChildResult(
            best_step=2,
            dev_score=score,
            resumed_from=2 if rate == 0.001 and fold != 1 else 0,
            predictions=[(str(item.path), item.label, item.label) for item in items],
            mends=(),
            seconds={"start": 1.0, "train": 2.0, "test": 3.0},
        )

    monkeypatch.setattr(engine, "run_child", run_child)
    settings = SETTINGS.model_copy(update={"learning_rates": tuple(scores)})
    result: EngineResult = engine.run(
        _job(task, corpus, checkpoint, tmp_path / "work", settings=settings)
    )
    assert result.learning_rate == best
    assert len(result.rates) == 3
    folds = ("_fold_1", "_fold_2") if task == "er" else ("",)
    tested = [name for name, test in asked if test]
    assert tested == [f"learning_rate_{best:g}{fold}" for fold in folds]
    assert [fold.score for fold in result.folds] == ([100.0, 100.0] if task == "er" else [])
    assert result.resumed
    assert len([note for note in result.notes if "resumed at step 2" in note]) == 1


def test_audio_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    dataset: Any = SimpleNamespace()
    read_as_corpora_do(dataset)
    wrong = tmp_path / "wrong.wav"
    soundfile.write(wrong, torch.zeros(4000).numpy(), 8000)
    with pytest.raises(InputError, match=r"wrong\.wav: sampled at 8000 Hz") as caught:
        dataset.torchaudio.load(str(wrong))
    assert len(str(caught.value).splitlines()) == 1


def _first_loss(folder: Path) -> float:
    lines = (folder / "experiment" / "metrics.jsonl").read_text().splitlines()
    values = [json.loads(line) for line in lines]
    return float(next(value["value"] for value in values if value["name"].endswith("dev-loss")))
