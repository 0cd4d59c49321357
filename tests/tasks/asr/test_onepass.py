from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.evaluation.onepass import run, run_seeds
from s3prl_compress.evaluation.score import score
from s3prl_compress.probing import recogniser_training
from s3prl_compress.probing.frame_extraction import load_frames
from s3prl_compress.probing.frames import StreamedFrames
from s3prl_compress.probing.recogniser_training import Training
from s3prl_compress.statistics import metrics
from s3prl_compress.tasks.asr import TASK
from s3prl_compress.tasks.asr.onepass import RECOGNITION
from s3prl_compress.tasks.base.engine import EngineResult, Job
from s3prl_compress.tasks.base.task import RecognitionHead, Settings
from s3prl_compress.tasks.base.transcripts import TranscribedCorpus, open_transcripts

from ...encoder.exported.test_exported import exported_as
from ...support.small_corpora import write_transcripts

TEXTS = ("A", "BE", "CAN'T")
SETTINGS = Settings(
    total_steps=125,
    batch_size=8,
    eval_step=20,
    learning_rates=(1e-2, 1e-5),
    recognition=RecognitionHead(
        project_dim=32, rnn_dim=48, rnn_layers=1, dropout=0.1, specaug=False
    ),
)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("recognition")
    return Job(
        encoder=random_encoder(NAMED_SHAPES["hubert_tiny"]),
        checkpoint=None,
        task=TASK,
        corpus=open_transcripts(write_transcripts(folder / "corpus", TEXTS, train=18)),
        settings=SETTINGS,
        seed=0,
        padding="independent",
        work=folder / "cell",
        device="cpu",
        cache=folder / "features",
    )


@pytest.fixture(scope="module")
def result(job: Job) -> EngineResult:
    return run(job)


def test_every_test_utterance_is_recognised_and_every_rate_reported(
    result: EngineResult, job: Job
) -> None:
    corpus = job.corpus
    assert [row[:2] for row in result.predictions] == [
        (corpus.utterance_name(item), item.label) for item in corpus.items("test")
    ]
    assert [rate.learning_rate for rate in result.rates] == [1e-2, 1e-5]
    assert all(rate.best_step in range(20, 121, 20) for rate in result.rates)
    assert result.dev_score == min(rate.dev_score for rate in result.rates)
    assert not result.approximate
    assert any("float16" in note for note in result.notes)
    assert not any(job.work.glob("heads/*"))


def test_without_a_dev_score_below_100_the_newest_head_counts(result: EngineResult) -> None:
    lost = result.rates[1]  # a rate with which nothing is learned
    assert (lost.dev_score, lost.best_step) == (100.0, 120)


def test_tones_are_told_apart(result: EngineResult) -> None:
    truth = [row[1] for row in result.predictions]
    predicted = [row[2] for row in result.predictions]
    assert result.learning_rate == 1e-2
    assert metrics.word_error_rate(truth, predicted) < 70
    assert result.rates[1].dev_score >= 100.0  # a head that has learned nothing


def test_a_killed_cell_ends_where_an_undisturbed_one_does(
    result: EngineResult, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = replace(job, work=tmp_path / "cell")
    steps: list[int] = []
    original = recogniser_training.update

    def dying(*arguments: Any) -> None:
        steps.append(len(steps))
        if len(steps) in (50, 170):  # in the first head's training, then in the second's
            raise KeyboardInterrupt
        original(*arguments)

    monkeypatch.setattr(recogniser_training, "update", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(killed)
    given = run(killed)
    assert given.predictions == result.predictions
    assert given.rates == result.rates
    assert not given.resumed
    assert len(steps) < 2 * 120 + 2 * 21  # what was saved is not done again


@pytest.fixture(scope="module", name="alone")
def _alone(job: Job) -> Job:
    """A short run in which every utterance goes through the encoder alone."""
    settings = SETTINGS.model_copy(
        update={"total_steps": 40, "learning_rates": (1e-2, 1e-3, 1e-5), "seconds_per_batch": 0.01}
    )
    return replace(job, settings=settings, work=job.work.parent / "alone")


def as_streamed(job: Job, folder: Path, how: str = "streamed") -> Job:
    settings = job.settings.model_copy(update={"frames": how})
    return replace(job, settings=settings, work=folder / "cell", cache=folder / "features")


@pytest.fixture(scope="module")
def stored(alone: Job) -> EngineResult:
    return run(alone)


def test_streamed_frames_give_the_same_result(
    stored: EngineResult, alone: Job, tmp_path: Path
) -> None:
    streamed = run(as_streamed(alone, tmp_path))
    assert streamed.predictions == stored.predictions
    assert streamed.rates == stored.rates
    # Another thread computes them, so the last bit of a float16 number may differ.
    assert streamed.layer_weights == pytest.approx(stored.layer_weights, abs=1e-4)
    assert any("computed in every step" in note for note in streamed.notes)
    assert not list(tmp_path.rglob("*.frames"))
    assert alone.settings.identity() == as_streamed(alone, tmp_path).settings.identity()


def test_frames_are_streamed_where_they_do_not_fit(
    stored: EngineResult,
    alone: Job,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(InputError, match="set frames: streamed in the recipe"):
        run(as_streamed(alone, tmp_path, "stored"))
    assert run(as_streamed(alone, tmp_path, "auto")).rates == stored.rates
    assert "computed in every step" in capsys.readouterr().err


def test_heads_in_step_are_resumed_where_each_of_them_was(
    stored: EngineResult, alone: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = recogniser_training.save_state
    saved: list[Path] = []

    def dying(folder: Path, *arguments: Any) -> None:
        saved.append(folder)
        if len(saved) == 5:  # at the second look, one head is saved, and two are not
            raise KeyboardInterrupt
        original(folder, *arguments)

    monkeypatch.setattr(recogniser_training, "save_state", dying)
    streamed = as_streamed(alone, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(streamed)
    assert run(streamed).rates == stored.rates


def test_seeds_share_one_pass_of_streamed_frames(
    alone: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = alone.settings.model_copy(update={"shared_batches": True})
    jobs = [
        replace(alone, settings=settings, seed=seed, work=tmp_path / f"{seed}") for seed in (0, 1)
    ]
    stored = list(run_seeds(jobs))
    assert stored[0].layer_weights != pytest.approx(stored[1].layer_weights, abs=1e-2)
    read: list[int] = []
    original = StreamedFrames.read

    def counting(frames: StreamedFrames, rows: Sequence[int]) -> list[Tensor]:
        read.extend(rows)
        return original(frames, rows)

    monkeypatch.setattr(StreamedFrames, "read", counting)
    passes = []
    for number, group in enumerate((jobs, jobs[:1])):
        folder = tmp_path / f"streamed{number}"
        streamed = [as_streamed(job, folder / str(job.seed)) for job in group]
        read.clear()
        for given, wanted in zip(run_seeds(streamed), stored, strict=False):
            assert given.rates == wanted.rates
            assert given.layer_weights == pytest.approx(wanted.layer_weights, abs=1e-4)
            assert any("same batches" in note for note in given.notes)
        passes.append(len(read))
    assert passes[0] == passes[1]
    assert alone.settings.identity() != settings.identity()


def test_the_order_of_batches_is_the_seeds_own_unless_they_share_it(alone: Job) -> None:
    assert isinstance(alone.encoder, SpeechEncoder)
    assert isinstance(alone.corpus, TranscribedCorpus)
    assert alone.cache is not None
    frames = load_frames(
        alone.encoder, alone.corpus, padding="independent", cache=alone.cache, how="streamed"
    )
    for shared in (False, True):
        settings = alone.settings.model_copy(update={"shared_batches": shared})
        orders = [
            [
                Training(
                    [replace(alone, settings=settings, seed=seed)], frames, RECOGNITION
                )._batches[n]
                for n in range(12)
            ]
            for seed in (1, 2)
        ]
        assert (orders[0] == orders[1]) is shared


def test_bfloat16_frames_are_close_and_noted(
    stored: EngineResult, alone: Job, tmp_path: Path
) -> None:
    settings = alone.settings.model_copy(
        update={"frames": "streamed", "streamed_dtype": "bfloat16"}
    )
    assert isinstance(alone.encoder, SpeechEncoder)
    assert isinstance(alone.corpus, TranscribedCorpus)
    exact, half = (
        load_frames(
            alone.encoder,
            alone.corpus,
            padding="independent",
            cache=tmp_path,
            how="streamed",
            half=half,
        )
        for half in (False, True)
    )
    with exact.ready(), half.ready():
        one, other = (torch.cat(frames.read(range(4)), 1).float() for frames in (exact, half))
    error = (one - other).norm() / one.norm()
    assert 1e-4 < error < 0.03
    result = run(replace(alone, settings=settings, work=tmp_path / "cell"))
    assert any("in bfloat16" in note for note in result.notes)
    assert result.layer_weights == pytest.approx(stored.layer_weights, abs=0.05)
    assert settings.identity() != alone.settings.identity()
    with pytest.raises(ValidationError, match="needs frames: streamed"):
        Settings(**SETTINGS.model_dump() | {"streamed_dtype": "bfloat16"})


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs the extra onnx")
def test_an_exported_upstream_keeps_its_number_format(alone: Job, tmp_path: Path) -> None:
    assert isinstance(alone.corpus, TranscribedCorpus)
    assert isinstance(alone.encoder, SpeechEncoder)
    exported = exported_as("onnx", alone.encoder, tmp_path / "exported.onnx")
    with pytest.raises(InputError, match="leave out streamed_dtype"):
        load_frames(exported, alone.corpus, padding="independent", cache=tmp_path, half=True)


def test_seeds_differ_and_repeat(job: Job, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"total_steps": 20, "learning_rates": (1e-2,)})
    assert isinstance(job.encoder, SpeechEncoder)
    assert isinstance(job.corpus, TranscribedCorpus)
    frames = load_frames(job.encoder, job.corpus, padding="independent", cache=tmp_path)
    heads = []
    for number, seed in enumerate((0, 0, 1)):
        work = tmp_path / str(number)
        own = replace(job, settings=settings, seed=seed, work=work)
        training = Training([own], frames, RECOGNITION)
        ((best,),) = training.sweep()
        heads.append(training.best_head(own, 0, best).state_dict())
    for name, weights in heads[0].items():
        assert torch.equal(heads[1][name], weights)
        assert not torch.equal(heads[2][name], weights)


def test_accumulated_batches_are_the_next_ones(job: Job, tmp_path: Path) -> None:
    assert isinstance(job.encoder, SpeechEncoder)
    assert isinstance(job.corpus, TranscribedCorpus)
    frames = load_frames(job.encoder, job.corpus, padding="independent", cache=tmp_path)
    settings = SETTINGS.model_copy(update={"accumulation": 2})
    double = Training([replace(job, settings=settings)], frames, RECOGNITION)
    single = Training([job], frames, RECOGNITION)
    for step in (1, 4):
        given = double._read(step)
        expected = [*single._read(2 * step - 1), *single._read(2 * step)]
        for ours, theirs in zip(given, expected, strict=True):
            assert all(map(torch.equal, ours[1], theirs[1]))


def test_a_last_bucket_of_one_is_left_out_and_said(job: Job, tmp_path: Path) -> None:
    small = open_transcripts(write_transcripts(tmp_path / "corpus", TEXTS, train=9))
    settings = SETTINGS.model_copy(update={"total_steps": 2, "eval_step": 2})
    given = run(replace(job, corpus=small, settings=settings, work=tmp_path / "cell"))
    assert any(note.startswith("1 training utterance is never used") for note in given.notes)
    one = open_transcripts(write_transcripts(tmp_path / "one", TEXTS, train=1))
    with pytest.raises(InputError, match="1 training utterances make no batch"):
        run(replace(job, corpus=one, settings=settings, work=tmp_path / "cell"))


def test_fairseq_padding_is_approximate(job: Job, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"total_steps": 2, "eval_step": 2})
    given = run(replace(job, settings=settings, work=tmp_path / "cell", padding="fairseq"))
    assert given.approximate
    assert any(note.startswith("Approximate") for note in given.notes)


def test_score_writes_a_record_with_word_and_character_errors(job: Job, tmp_path: Path) -> None:
    recipe = tmp_path / "quick.yaml"
    recipe.write_text(
        "extends: smoke\ntotal_steps: 2\neval_step: 2\nlearning_rates: [1.0e-2]\n"
        "engines: {onepass: {learning_rates: [1.0e-2]}}\n"
    )
    record = score(job.encoder, "asr", data=job.corpus.root, output=tmp_path / "out", recipe=recipe)
    assert (record.metric, record.higher_is_better) == ("WER (percent)", False)
    assert record.interval is not None
    assert record.interval[0] <= record.score <= record.interval[1]
    assert record.other_metrics["cer"] > 0
    assert record.rates[0].dev_score == record.dev_score


@pytest.mark.speech
def test_real_speech_teaches_some_characters(speech_data: Path, tmp_path: Path) -> None:
    from s3prl_compress.tasks.registry import prepare_corpus

    table = speech_data / "asr_minilibri" / "metadata.csv"
    recipe = tmp_path / "quick.yaml"
    recipe.write_text(
        "extends: smoke\ntotal_steps: 60\neval_step: 30\nlearning_rates: [1.0e-2]\n"
        "engines: {onepass: {learning_rates: [1.0e-2]}}\n"
    )
    record = score(
        random_encoder(NAMED_SHAPES["hubert_tiny"]),
        "asr",
        data=prepare_corpus("asr", table, tmp_path / "corpus"),
        output=tmp_path / "out",
        recipe=recipe,
    )
    assert record.test_size == 24
    assert record.other_metrics["cer"] < 100  # more than blanks
