from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.evaluation.onepass import run
from s3prl_compress.probing.features import load_features
from s3prl_compress.probing.heads import ParallelHeads
from s3prl_compress.probing.training import predict
from s3prl_compress.tasks.base.engine import EngineResult, Job
from s3prl_compress.tasks.base.task import Settings
from s3prl_compress.tasks.ks import TASK
from s3prl_compress.tasks.ks.corpus import SILENCE, KeywordCorpus
from s3prl_compress.tasks.ks.onepass import KeywordClips, dev_scores, draw_batches, plan_clips
from s3prl_compress.tasks.registry import open_corpus

SETTINGS = Settings(
    total_steps=60, batch_size=8, eval_step=20, learning_rates=(1e-2, 1e-4), crops_per_file=6
)


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def corpus(tiny_corpus: Path) -> KeywordCorpus:
    return open_corpus(tiny_corpus)


@pytest.fixture(scope="module")
def job(
    encoder: SpeechEncoder, corpus: KeywordCorpus, tmp_path_factory: pytest.TempPathFactory
) -> Job:
    folder = tmp_path_factory.mktemp("onepass")
    return Job(
        encoder=encoder,
        checkpoint=None,
        task=TASK,
        corpus=corpus,
        settings=SETTINGS,
        seed=0,
        padding="independent",
        work=folder / "cell",
        device="cpu",
    )


@pytest.fixture(scope="module")
def result(job: Job) -> EngineResult:
    return run(job)


def with_settings(job: Job, **changes: Any) -> Job:
    return replace(job, settings=job.settings.model_copy(update=changes))


def test_every_test_utterance_is_predicted_and_every_rate_reported(
    result: EngineResult, corpus: KeywordCorpus
) -> None:
    expected = [
        (f"{item.path.parent.name}/{item.path.name}", item.label) for item in corpus.items("test")
    ]
    assert [row[:2] for row in result.predictions] == expected
    assert {row[2] for row in result.predictions} <= set(corpus.classes)
    assert [rate.learning_rate for rate in result.rates] == [1e-2, 1e-4]
    assert all(rate.best_step in (20, 40, 60) for rate in result.rates)
    assert result.dev_score == max(rate.dev_score for rate in result.rates)
    assert not result.approximate


def test_tones_are_told_apart(result: EngineResult) -> None:
    right = [truth == predicted for _, truth, predicted in result.predictions]
    assert sum(right) / len(right) > 0.5  # chance is 1 / 12


def test_the_same_seed_repeats_exactly_and_another_does_not(job: Job, result: EngineResult) -> None:
    again, other = run(job), run(replace(job, seed=1))
    assert again.predictions == result.predictions
    assert again.rates == result.rates
    assert other.rates != result.rates
    assert again.seconds["features"] == 0.0


def test_a_rate_scores_in_a_sweep_what_it_scores_alone(job: Job, result: EngineResult) -> None:
    for position, rate in enumerate(SETTINGS.learning_rates):
        alone = run(with_settings(job, learning_rates=(rate,)))
        assert alone.rates == (result.rates[position],)


def test_of_two_equal_rates_on_dev_the_first_is_taken(job: Job) -> None:
    # So small that no prediction changes: all three rates reach the same on dev.
    rates = (1e-12, 1e-11, 1e-13)
    result = run(with_settings(job, learning_rates=rates))
    assert len({rate.dev_score for rate in result.rates}) == 1
    assert result.learning_rate == 1e-12
    assert {rate.best_step for rate in result.rates} == {20}  # the first best one is kept


def test_fairseq_padding_is_marked_approximate(job: Job) -> None:
    result = run(replace(with_settings(job, total_steps=20), padding="fairseq"))
    assert result.approximate
    assert any("fairseq" in note for note in result.notes)


def test_notes_say_how_much_silence_there_was(result: EngineResult) -> None:
    assert any("12 evenly spaced 1 s crops of 2 background files" in note for note in result.notes)
    assert any("mean of per-class accuracies" in note for note in result.notes)


def test_the_digits_have_ten_classes_and_no_silence(job: Job, tiny_digits_corpus: Path) -> None:
    digits = open_corpus(tiny_digits_corpus)
    result = run(replace(job, corpus=digits))
    assert {row[1] for row in result.predictions} == set(digits.classes)
    assert len(digits.classes) == 10
    assert not any("Silence" in note for note in result.notes)


def drawn(
    plan: KeywordClips, corpus: KeywordCorpus, count: int, seed: int = 0
) -> list[tuple[Any, Any]]:
    generator = torch.Generator().manual_seed(seed)
    return list(islice(draw_batches(plan, corpus, 8, generator), count))


def test_every_class_is_drawn_as_often_and_every_crop_of_a_file(corpus: KeywordCorpus) -> None:
    plan = plan_clips(corpus, 6)
    rows, labels = (torch.cat(parts) for parts in zip(*drawn(plan, corpus, 3000), strict=True))
    total = len(rows)
    for count in Counter(labels.tolist()).values():
        assert abs(count / total - 1 / 12) < 0.01
    silence = Counter(rows[labels == corpus.classes.index(SILENCE)].tolist())
    assert set(silence) == {row for crops in plan.background for row in crops}
    for count in silence.values():
        assert abs(count / total - 1 / 12 / 12) < 0.003  # two files of six crops


def test_rows_and_labels_belong_together(corpus: KeywordCorpus) -> None:
    plan = plan_clips(corpus, 6)
    for rows, labels in drawn(plan, corpus, 50):
        for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
            name = corpus.classes[label]
            expected = plan.items["train"][row].label if row in plan.train else SILENCE
            assert name == expected


def test_an_epoch_drops_its_last_incomplete_batch(corpus: KeywordCorpus) -> None:
    plan = plan_clips(corpus, 6)
    entries = len(plan.train) + len(plan.background)
    assert entries % 8 > 0
    states = []
    for batch_size, batches in ((8, entries // 8), (entries, 1)):
        generator = torch.Generator().manual_seed(0)
        list(islice(draw_batches(plan, corpus, batch_size, generator), batches))
        states.append(generator.get_state())
    assert torch.equal(*states)  # both have drawn exactly one epoch
    list(islice(draw_batches(plan, corpus, 8, generator), 1))
    assert not torch.equal(generator.get_state(), states[0])


def test_too_few_utterances_for_a_batch_are_an_error_and_no_endless_loop(
    corpus: KeywordCorpus,
) -> None:
    plan = plan_clips(corpus, 6)
    with pytest.raises(InputError, match="62 training utterances are not one batch of 63"):
        next(draw_batches(plan, corpus, 63, torch.Generator()))


def test_dev_is_the_expectation_of_s3prls_resampling(job: Job, corpus: KeywordCorpus) -> None:
    plan = plan_clips(corpus, 6)
    features = load_features(
        job.encoder,
        corpus,
        plan.clips,
        padding="independent",
        cache=job.work.parent / "features",
    )
    _, layers, width = features.values.shape
    sweep = ParallelHeads(layers, width, 12, (1.0, 1.0))
    sweep.output_weight.normal_(generator=torch.Generator().manual_seed(5))
    scores = dev_scores(sweep, features.values, plan, corpus)
    for head in range(2):
        assert float(scores[head]) == pytest.approx(
            100 * resampled(sweep, features.values, plan, corpus, head)
        )


def resampled(
    sweep: ParallelHeads, values: Tensor, plan: KeywordClips, corpus: KeywordCorpus, head: int
) -> float:
    """Expected accuracy of one draw of s3prl's dev loader, entry by entry."""
    every = predict(sweep, values, range(len(plan.clips)))[head]
    entries: list[tuple[str, Tensor]] = [
        (item.label, every[row : row + 1])
        for item, row in zip(plan.items["dev"], plan.dev, strict=True)
    ]
    entries += [(SILENCE, every[crops.start : crops.stop]) for crops in plan.background]
    counts = Counter(label for label, _ in entries)
    weights = [1 / counts[label] for label, _ in entries]
    right = [
        float((predicted == corpus.classes.index(label)).double().mean())
        for label, predicted in entries
    ]
    return sum(w * r for w, r in zip(weights, right, strict=True)) / sum(weights)
