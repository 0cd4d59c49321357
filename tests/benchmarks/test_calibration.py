"""The error model finds differences where there are some, and rarely where there are none."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s3prl_compress.encoder import fingerprint
from s3prl_compress.statistics import TWO_SIDED, judge

from ..support.small import small_encoder

FOLDER = Path(__file__).parents[2] / "benchmarks"
SEEDS = (3, 5, 10)
TRIALS = 200
# Largest deviation of a share from its expectation that is chance, of 750 trials.
CHANCE = 2.5 * np.sqrt(0.05 * 0.95 / (len(SEEDS) * TRIALS))


@pytest.fixture(scope="module")
def simulation() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        return importlib.import_module("calibration_simulation")


@pytest.fixture(scope="module")
def p_values(simulation: Any) -> dict[str, np.ndarray]:
    """By scenario: p values of A/A pairs, [numbers of seeds, trials]."""
    random = np.random.default_rng(0)
    return {
        scenario.name: np.array(
            [
                [one.p_value() for one in simulation.trials(scenario, seeds, TRIALS, random)]
                for seeds in SEEDS
            ]
        )
        for scenario in simulation.SCENARIOS
    }


def test_no_scenario_has_too_many_false_alarms_or_too_few(p_values: dict[str, np.ndarray]) -> None:
    for name, found in p_values.items():
        share, small = np.mean(found < 0.05), np.mean(found < 0.01)
        assert 0.02 - CHANCE / 2 < share < 0.05 + CHANCE, name
        assert small <= 0.025, name


def test_every_number_of_seeds_is_calibrated(p_values: dict[str, np.ndarray]) -> None:
    every = np.stack(list(p_values.values()))  # [scenarios, numbers of seeds, trials]
    shares = np.mean(every < 0.05, axis=(0, 2))
    assert np.all((shares > 0.03) & (shares < 0.06))
    assert np.all(np.mean(every < 0.01, axis=(0, 2)) < 0.015)


def test_a_loss_of_just_the_margin_rarely_passes_a_check(simulation: Any) -> None:
    """Nor does it often fail: both sides are tested at 5 %."""
    random, margin, trials = np.random.default_rng(1), 2.0, 100
    verdicts = [
        judge(*one.interval(TWO_SIDED), margin)
        for scenario in simulation.SCENARIOS
        for one in simulation.trials(scenario, 5, trials, random, shift=margin)
    ]
    chance = 2.5 * np.sqrt(0.05 * 0.95 / len(verdicts))
    for verdict in ("passed", "failed"):
        assert 0.03 < verdicts.count(verdict) / len(verdicts) < 0.05 + chance


def test_utterances_alone_would_raise_false_alarms(simulation: Any) -> None:
    """The simulation tells a wrong error model from a right one."""
    from scipy.stats import norm

    scenario = next(one for one in simulation.SCENARIOS if one.name == "3 unequal speakers")
    found = simulation.trials(scenario, 3, TRIALS, np.random.default_rng(1))
    z = np.array([one.value / np.sqrt(one.components.unit) for one in found])
    assert np.mean(2 * norm.sf(abs(z)) < 0.05) > 0.2


def test_a_detectable_difference_is_detected(simulation: Any) -> None:
    scenario = next(one for one in simulation.SCENARIOS if one.name == "30 speakers, strong effect")
    random = np.random.default_rng(2)
    stated = [one.detectable(0.05) for one in simulation.trials(scenario, 10, 100, random)]
    shift = np.sqrt(np.mean(np.square(stated)))  # that of the true variance
    found = simulation.trials(scenario, 10, TRIALS, random, shift=float(shift))
    assert np.mean([one.value for one in found]) == pytest.approx(shift, rel=0.1)
    assert 0.7 < np.mean([one.p_value() < 0.05 for one in found]) < 0.9


@pytest.fixture
def calibration(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("calibration")


def test_without_speech_the_benchmark_simulates(
    calibration: Any,
    simulation: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "rows.json"
    arguments = ["calibration.py", "--seeds", "3", "--draws", "4", "--output", str(output)]
    monkeypatch.setattr("sys.argv", arguments)
    calibration.main()
    rows = json.loads(output.read_text(encoding="utf-8"))["figures"]
    assert [row["set"] for row in rows] == [scenario.name for scenario in simulation.SCENARIOS]
    assert capsys.readouterr().out.count("p < .05 in") == len(rows)


def test_groups_of_a_pool_share_no_seed_unless_they_are_pairs(calibration: Any) -> None:
    seeds = np.eye(12, dtype=bool)
    groups: list[Any] = []
    for pools in ([seeds], [seeds, seeds, seeds]):
        calibration.pairs(pools, lambda *given: groups.append(given), 5, 20)
    assert [same_seeds for *_, same_seeds in groups] == [False] * 20 + [True] * 20
    for first, second, same_seeds in groups:
        common = (first.any(axis=0) & second.any(axis=0)).sum()
        assert common == (5 if same_seeds else 0)


def test_pairs_are_of_two_different_encoders(calibration: Any) -> None:
    pools = [np.full((4, 3), number) for number in range(3)]
    groups: list[Any] = []
    calibration.pairs(pools, lambda *given: groups.append(given), 2, 50)
    taken = {(int(first[0, 0]), int(second[0, 0])) for first, second, _ in groups}
    assert taken == {(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)}


def test_perturbed_copies_differ_and_leave_the_encoder_as_it_is(calibration: Any) -> None:
    encoder = small_encoder()
    before = fingerprint(encoder)
    copies = {fingerprint(calibration.perturbed(encoder, number)) for number in (0, 1, 1)}
    assert len(copies) == 2
    assert before not in copies
    assert fingerprint(encoder) == before


def test_a_worsened_group_loses_the_stated_points(calibration: Any) -> None:
    group = np.random.default_rng(0).random((10, 2000)) < 0.7
    worse = calibration.worsened(group, 5.0, np.random.default_rng(1))
    assert 100 * (group.mean() - worse.mean()) == pytest.approx(5, abs=0.5)
    assert not (worse & ~group).any()
