"""The table of the model card: its baselines, its errors, and that it can be made."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from s3prl_compress.encoder import NAMED_SHAPES, random_encoder
from s3prl_compress.probing.pooling import pool
from s3prl_compress.tasks.registry import open_corpus

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("hubert_demo_card")


@pytest.fixture
def spectral(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("spectral_upstreams")


def _cells(card: Any, rights: np.ndarray, folds: tuple[int, ...] = ()) -> Any:
    return card.Cells(rights.astype(float), folds or (rights.shape[1],), [])


def _drawn(share: float, seeds: int, utterances: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(seeds, utterances)) < share


def test_baselines_are_the_statistics_that_they_are_called(spectral: Any) -> None:
    waves = [0.1 * torch.randn(16_000), 0.2 * torch.randn(9_000)]
    for kind in spectral.KINDS:
        upstream = spectral.SpectralUpstream(kind).eval()
        # What SUPERB's heads see: the mean over frames, alone or in a batch.
        means = pool(upstream, waves)
        assert means.shape == (2, 2, upstream.shape.hidden)
        for wave, states in zip(waves, means, strict=True):
            if "MFCC" in kind:
                frames = spectral.mfcc(wave, upstream.shape)
            else:
                frames = spectral.log_mels(wave).numpy()
            parts = [frames.mean(0)] + ([frames.std(0)] if "deviations" in kind else [])
            for state in states:
                np.testing.assert_allclose(state, np.concatenate(parts), rtol=1e-4, atol=1e-4)


def test_baselines_are_standardised_over_the_training_utterances(
    spectral: Any, tiny_corpus: Path
) -> None:
    corpus = open_corpus(tiny_corpus, "ks")
    upstream = spectral.SpectralUpstream("log-mel means").eval()
    upstream.standardise(corpus)
    waves = [corpus.read(item.path) for item in corpus.items("train")]
    values = pool(upstream, waves)[:, 0]
    assert values.mean(0).abs().max() < 1e-3
    assert (values.std(0) - 1).abs().max() < 1e-2


def test_the_errors_of_equal_seeds_are_binomial(card: Any) -> None:
    one = _drawn(0.7, 1, 150)
    sets = {"a": {"x": _cells(card, np.repeat(one, 3, axis=0))}}
    error = card.bootstrap_means(sets, draws=4000)["x"].std()
    assert error == pytest.approx(100 * np.sqrt(one.mean() * (1 - one.mean()) / 150), rel=0.06)


def test_seeds_that_differ_add_to_the_error(card: Any) -> None:
    apart = np.stack([np.ones(100), np.zeros(100)])
    sets = {"a": {"x": _cells(card, apart)}}
    # Two seeds drawn from two: both the same one in half of the draws.
    assert card.bootstrap_means(sets, draws=4000)["x"].std() == pytest.approx(
        100 * np.sqrt(1 / 8), rel=0.05
    )


def test_differences_are_paired_and_averaged_over_sets_and_folds(card: Any) -> None:
    first, second = _drawn(0.6, 1, 90, 1), _drawn(0.6, 1, 90, 2)
    sets = {
        "a": {"trained": _cells(card, first), "copy": _cells(card, first)},
        "b": {"trained": _cells(card, second, (30, 60)), "copy": _cells(card, second, (30, 60))},
    }
    summary = card.summarise(sets, draws=500)
    assert summary["differences"]["copy"]["difference"] == 0
    assert summary["differences"]["copy"]["standard_error"] == 0
    expected = 100 * (second[0, :30].mean() + second[0, 30:].mean()) / 2
    assert summary["accuracy"]["copy"]["b"] == pytest.approx(expected)
    assert summary["mean"]["copy"] == pytest.approx((expected + 100 * first.mean()) / 2)
    assert summary["mean_standard_error"]["copy"] > 1


def test_the_table_goes_into_the_card(card: Any, tiny_corpus: Path, tmp_path: Path) -> None:
    corpus = open_corpus(tiny_corpus, "ks")
    trained = random_encoder(NAMED_SHAPES["hubert_tiny"], seed=5).eval()
    cells = card.score_set("ks", corpus, trained, (0, 1), 10, tmp_path, "cpu")
    assert list(cells) == [card.TRAINED, card.RANDOM, *card.KINDS, card.AS_IT_IS]
    assert all(own.rights.shape == (2, 48) for own in cells.values())
    assert all(own.chosen[0]["learning_rate"] in card.RATES for own in cells.values())
    text = card.tables(card.summarise({"tiny": cells}, draws=100), ["tiny"], 2)
    place = tmp_path / "README.md"
    place.write_text((FOLDER.parent / "upstreams/hubert_demo/README.md").read_text())
    for _ in range(2):
        card.into_card(place, text)
    written = place.read_text()
    assert written.count("| random weights |") == 2
    before, after = written.index("What it has learned"), written.index("Intended use")
    assert before < written.index(text) < after
