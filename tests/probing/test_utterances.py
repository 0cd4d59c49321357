from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.evaluation.onepass import run
from s3prl_compress.probing.pooling import Clip
from s3prl_compress.probing.utterances import (
    UtteranceClips,
    class_numbers,
    draw_batches,
    plan_clips,
    random_crops,
)
from s3prl_compress.tasks.base.engine import EngineResult, Job
from s3prl_compress.tasks.base.task import Settings
from s3prl_compress.tasks.registry import find_task, open_corpus

SETTINGS = {
    "sid": Settings(
        total_steps=60, batch_size=8, accumulation=4, eval_step=20, learning_rates=(1e-2, 1e-4)
    ),
    "er": Settings(
        total_steps=40, batch_size=4, accumulation=8, eval_step=10, learning_rates=(1e-2, 1e-4)
    ),
    "ic": Settings(total_steps=80, batch_size=32, eval_step=20, learning_rates=(1e-2, 1e-4)),
}
TASKS = tuple(SETTINGS)


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def jobs(
    encoder: SpeechEncoder,
    tiny_speakers: Path,
    tiny_emotions: Path,
    tiny_intents: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Job]:
    work = tmp_path_factory.mktemp("onepass") / "cell"
    return {
        task: Job(
            encoder=encoder,
            checkpoint=None,
            task=find_task(task),
            corpus=open_corpus(folder, task),
            settings=SETTINGS[task],
            seed=0,
            padding="independent",
            work=work,
            device="cpu",
        )
        for task, folder in (
            ("sid", tiny_speakers),
            ("er", tiny_emotions),
            ("ic", tiny_intents),
        )
    }


@pytest.fixture(scope="module")
def results(jobs: dict[str, Job]) -> dict[str, EngineResult]:
    return {task: run(job) for task, job in jobs.items()}


def with_settings(job: Job, **changes: Any) -> Job:
    return replace(job, settings=job.settings.model_copy(update=changes))


@pytest.mark.parametrize("task", TASKS)
def test_every_test_utterance_is_predicted_in_order_and_every_rate_reported(
    jobs: dict[str, Job], results: dict[str, EngineResult], task: str
) -> None:
    corpus, result = jobs[task].corpus, results[task]
    expected = [(corpus.utterance_name(item), item.label) for item in corpus.test_items()]
    assert [row[:2] for row in result.predictions] == expected
    for _, _, predicted in result.predictions:
        assert all(v in s for v, s in zip(corpus.values(predicted), corpus.slots, strict=True))
    assert [rate.learning_rate for rate in result.rates] == [1e-2, 1e-4]
    assert result.dev_score == max(rate.dev_score for rate in result.rates)
    assert not result.approximate


@pytest.mark.parametrize("task", TASKS)
def test_tones_are_told_apart(results: dict[str, EngineResult], task: str) -> None:
    right = [truth == predicted for _, truth, predicted in results[task].predictions]
    # Chance is 1 / 7, 1 / 4 and 1 / 5.
    assert sum(right) / len(right) > {"sid": 0.4, "er": 0.5, "ic": 0.5}[task]


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_repeats_exactly_and_another_does_not(
    jobs: dict[str, Job], results: dict[str, EngineResult], task: str
) -> None:
    short = with_settings(jobs[task], total_steps=10, eval_step=10)
    first, again, other = run(short), run(short), run(replace(short, seed=1))
    assert (again.predictions, again.rates) == (first.predictions, first.rates)
    assert other.rates != first.rates or other.predictions != first.predictions
    assert again.seconds["features"] == 0.0


@pytest.mark.parametrize("task", TASKS)
def test_a_rate_scores_in_a_sweep_what_it_scores_alone(
    jobs: dict[str, Job], results: dict[str, EngineResult], task: str
) -> None:
    for position, rate in enumerate(SETTINGS[task].learning_rates):
        alone = run(with_settings(jobs[task], learning_rates=(rate,)))
        assert alone.rates == (results[task].rates[position],)


def test_folds_have_scores_of_their_own_and_one_rate(
    jobs: dict[str, Job], results: dict[str, EngineResult]
) -> None:
    result, corpus = results["er"], jobs["er"].corpus
    assert [fold.fold for fold in result.folds] == [1, 2, 3, 4, 5]
    assert [fold.test_size for fold in result.folds] == [16] * 5
    start = 0
    for fold in result.folds:
        rows = result.predictions[start : start + fold.test_size]
        start += fold.test_size
        assert [row[0] for row in rows] == [
            corpus.utterance_name(item) for item in corpus.items("test", fold.fold)
        ]
        right = sum(truth == predicted for _, truth, predicted in rows)
        assert fold.score == pytest.approx(100 * right / len(rows))
    mean = sum(fold.dev_score for fold in result.folds) / 5
    assert result.dev_score == pytest.approx(mean)
    assert len({fold.dev_score for fold in result.folds}) > 1
    assert any("One learning rate for all 5 folds" in note for note in result.notes)
    assert results["sid"].folds == ()
    assert results["sid"].notes == ()


def test_an_epoch_has_every_utterance_once_and_a_short_last_batch(jobs: dict[str, Job]) -> None:
    corpus = jobs["sid"].corpus
    items = corpus.items("train")
    plan = plan_clips(corpus, 128_000, 4)
    labels = class_numbers(corpus, items)
    generator = torch.Generator().manual_seed(0)
    batches = list(islice(draw_batches(plan, items, labels, 8, generator), 10))
    assert [len(rows) for rows, _ in batches] == [8, 8, 8, 8, 3] * 2
    epochs = [torch.cat([rows for rows, _ in part]) for part in (batches[:5], batches[5:])]
    for rows in epochs:
        assert sorted(rows.tolist()) == sorted(plan.train[item.relative].start for item in items)
    assert not torch.equal(*epochs)
    by_row = {plan.train[item.relative].start: item.label for item in items}
    for rows, labels in batches:
        named = [corpus.classes[label] for label in labels.tolist()]
        assert named == [by_row[row] for row in rows.tolist()]


def test_no_training_utterances_are_an_error_and_no_endless_loop() -> None:
    with pytest.raises(InputError, match="no training utterances"):
        next(
            draw_batches(
                UtteranceClips([], {}, {}, None), [], torch.tensor([]), 8, torch.Generator()
            )
        )


def test_every_clip_goes_through_the_upstream_once_for_all_folds(jobs: dict[str, Job]) -> None:
    plan = plan_clips(jobs["er"].corpus, None, 4)
    assert len(plan.clips) == len({clip.path for clip in plan.clips}) == 80
    assert {rows.start for rows in plan.train.values()} == set(range(80))


def test_crops_are_uniform_and_follow_from_the_seed_alone() -> None:
    clip = Clip(Path("a.wav"), 0, 105)
    counts = Counter(
        crop.start for seed in range(3000) for crop in random_crops(clip, 100, 2, str(seed))
    )
    assert set(counts) == set(range(6))  # both ends, as s3prl's randint
    assert all(abs(count / 1000 - 1) < 0.15 for count in counts.values())
    first = random_crops(clip, 100, 2, "x")
    assert first == random_crops(clip, 100, 2, "x")
    assert all(crop.samples == 100 for crop in first)
    assert [crop.start for crop in random_crops(clip, 104, 4, "x")] == [0, 1]


def test_only_training_clips_over_the_limit_are_cropped_and_a_note_says_so(
    jobs: dict[str, Job],
) -> None:
    corpus = jobs["sid"].corpus
    limit = 5000  # of some 4800 samples a clip
    plan = plan_clips(corpus, limit, 3)
    long = {
        item.relative for item in corpus.items("train") if soundfile.info(item.path).frames > limit
    }
    assert 0 < len(long) < len(corpus.items("train"))
    for item in corpus.items("train"):
        clips = [plan.clips[row] for row in plan.train[item.relative]]
        assert len(clips) == (3 if item.relative in long else 1)
        assert all(clip.path == item.path and clip.samples <= limit for clip in clips)
    for split in ("dev", "test"):
        for item in corpus.items(split):  # type: ignore[arg-type]
            clip = plan.clips[plan.whole[item.relative]]
            assert (clip.start, clip.samples) == (0, soundfile.info(item.path).frames)
    drawn: Counter[int] = Counter()
    items = [item for item in corpus.items("train") if item.relative in long]
    labels = class_numbers(corpus, items)
    generator = torch.Generator().manual_seed(0)
    for rows, _ in islice(draw_batches(plan, items, labels, len(items), generator), 600):
        drawn.update(rows.tolist())
    assert set(drawn) == {row for item in items for row in plan.train[item.relative]}
    assert np.all(np.abs(np.array(list(drawn.values())) / 200 - 1) < 0.3)
    result = run(with_settings(jobs["sid"], longest_seconds=limit / 16_000, crops_per_clip=3))
    expected = f"{len(long)} of 35 training clips are longer than 0.3125 s: 3 random crops"
    assert any(note.startswith(expected) for note in result.notes)


def test_fairseq_padding_is_marked_approximate(jobs: dict[str, Job]) -> None:
    job = with_settings(jobs["sid"], total_steps=2, eval_step=2)
    result = run(replace(job, padding="fairseq"))
    assert result.approximate
    assert any("fairseq" in note for note in result.notes)
