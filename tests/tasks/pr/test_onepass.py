from __future__ import annotations

import csv
import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.evaluation.score import score
from s3prl_compress.probing.recogniser_training import RecognitionSpec
from s3prl_compress.s3prl_bridge.compat import apply_patches
from s3prl_compress.statistics import metrics
from s3prl_compress.tasks.base.engine import EngineResult, Job
from s3prl_compress.tasks.base.task import Settings
from s3prl_compress.tasks.pr import TASK
from s3prl_compress.tasks.pr.corpus import open_phonemes
from s3prl_compress.tasks.pr.onepass import RECOGNITION, run_seeds

from ...support.small_corpora import write_phonemes

LABELS = ("AA1", "B EH0", "ɔː")
SETTINGS = Settings(
    total_steps=60, batch_size=4, accumulation=2, eval_step=20, learning_rates=(1e-9, 1e-2)
)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("phonemes")
    return Job(
        encoder=random_encoder(NAMED_SHAPES["hubert_tiny"]),
        checkpoint=None,
        task=TASK,
        corpus=open_phonemes(write_phonemes(folder / "corpus", LABELS, train=12)),
        settings=SETTINGS,
        seed=0,
        padding="independent",
        work=folder / "cell",
        device="cpu",
        cache=folder / "features",
    )


@pytest.fixture(scope="module")
def results(job: Job) -> list[EngineResult]:
    return list(run_seeds([job, replace(job, seed=1, work=job.work.parent / "other")]))


def test_tones_are_told_apart(results: list[EngineResult], job: Job) -> None:
    for result in results:
        assert [row[:2] for row in result.predictions] == [
            (job.corpus.utterance_name(item), item.label) for item in job.corpus.items("test")
        ]
        assert result.learning_rate == 1e-2
        truth, predicted = ([row[place] for row in result.predictions] for place in (1, 2))
        assert metrics.word_error_rate(truth, predicted) < 70
        assert result.notes == ("Frames of all layers are stored in float16.",)
        assert not result.approximate
    assert results[0].rates != results[1].rates  # another seed, another head


def test_an_untrained_head_may_make_more_errors_than_there_are_phonemes(
    results: list[EngineResult],
) -> None:
    """s3prl keeps the best head whatever its error rate: nothing is cut off at 100 %."""
    assert RECOGNITION.none_kept == RecognitionSpec.none_kept == float("inf")
    lost = results[0].rates[0]
    assert lost.dev_score > 100
    assert lost.best_step == 20  # the first of equals, not the newest


def test_utterances_behind_a_long_one_are_left_out_and_said(job: Job, tmp_path: Path) -> None:
    corpus = open_phonemes(write_phonemes(tmp_path / "corpus", LABELS[1:2], train=2))
    first = corpus.items("train")[0].path
    soundfile.write(first, np.zeros(300_001), 16_000)
    settings = SETTINGS.model_copy(update={"total_steps": 1, "eval_step": 1})
    small = replace(
        job, corpus=corpus, settings=settings, work=tmp_path / "cell", cache=tmp_path / "features"
    )
    (result,) = run_seeds([small])
    assert any(note.startswith("1 training utterances are never used") for note in result.notes)


@pytest.mark.s3prl
def test_a_record_counts_errors_as_s3prl_does(job: Job, tmp_path: Path) -> None:
    recipe = tmp_path / "short.yaml"
    recipe.write_text("extends: smoke\ntotal_steps: 20\neval_step: 20\nlearning_rates: [1.0e-2]\n")
    assert isinstance(job.encoder, SpeechEncoder)
    record = score(
        job.encoder,
        "pr",
        data=job.corpus.root,
        output=tmp_path / "results",
        recipe=recipe,
        cache=job.cache,
        name="tiny",
    )
    assert (record.task, record.metric, record.higher_is_better) == ("pr", "PER (percent)", False)
    assert record.chance is None
    with open(tmp_path / "results" / record.predictions, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["speaker"] for row in rows} == {"7"}
    apply_patches()
    per = importlib.import_module("s3prl.downstream.ctc.metric").per
    expected = per(
        hypothesis=[row["predicted"] for row in rows], groundtruth=[row["truth"] for row in rows]
    )
    assert record.score == pytest.approx(100 * expected)
