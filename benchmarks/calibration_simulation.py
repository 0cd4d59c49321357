"""Simulated predictions with known variances: what an error model is checked against.

A prediction is right where a latent number is above 0: the utterance's own ease, plus effects of
its speaker, of the seed, of both together, and of seed and utterance together (a probit model).
Two variants of one model ("A/A") differ by nothing but their seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from s3prl_compress.statistics import Estimate, Units, accuracy_outcomes, difference, sampling_units


@dataclass(frozen=True)
class Scenario:
    """A test set and the variances of what is trained on it; standard deviations are latent."""

    name: str
    speakers: int
    """0: the test set names none."""
    utterances: int = 600
    unequal: bool = False
    """Speakers' numbers of utterances are log-normal, with a standard deviation of 0.7."""
    speaker: float = 0.0
    seed_points: float = 0.0
    """Standard deviation of a seed's accuracy that all utterances share, in points."""
    seed_by_speaker: float = 0.0
    seed_by_utterance: float = 0.5
    accuracy: float = 0.75
    same_seeds: bool = True
    """The two variants have the same seeds: half of the seeds' variance is common to them."""
    speaker_difference: float = 0.0
    """Of the two variants' difference between speakers, whose mean is 0."""


SCENARIOS = (
    Scenario("no speakers named", 0),
    Scenario("no speakers named, seeds vary", 0, seed_points=2, same_seeds=False),
    Scenario("30 speakers, no effect", 30, same_seeds=False),
    Scenario("30 speakers, strong effect", 30, speaker=1.0, seed_points=1),
    Scenario("30 unequal speakers, seeds vary", 30, unequal=True, speaker=0.5, seed_points=4),
    Scenario("30 speakers, seed by speaker", 30, speaker=0.5, seed_points=1, seed_by_speaker=0.2),
    Scenario("10 unequal speakers", 10, unequal=True, speaker=0.5, seed_points=1),
    Scenario("10 speakers, other seeds", 10, speaker=0.5, seed_points=2, same_seeds=False),
    Scenario("4 speakers, strong effect", 4, speaker=1.0, seed_points=1, seed_by_speaker=0.2),
    Scenario("3 unequal speakers", 3, unequal=True, speaker=0.5, seed_points=3),
    Scenario("1000 speakers", 1000, 2000, unequal=True, speaker=0.5, seed_points=0.5),
    Scenario("1000 speakers, 97 %", 1000, 2000, accuracy=0.97, seed_points=0.5, same_seeds=False),
    Scenario("30 speakers that differ", 30, speaker=0.5, seed_points=1, speaker_difference=0.3),
    Scenario("10 speakers that differ", 10, unequal=True, seed_points=1, speaker_difference=0.3),
)


def trials(
    scenario: Scenario, seeds: int, count: int, random: np.random.Generator, shift: float = 0.0
) -> list[Estimate]:
    """Return the estimated differences of `count` pairs of variants.

    Args:
        scenario: what varies, and how much.
        seeds: of each variant.
        count: how many pairs; test sets are drawn for each.
        random: draws everything.
        shift: true difference, in points; 0 for A/A pairs.
    """
    return [_trial(scenario, seeds, random, shift) for _ in range(count)]


def false_alarms(
    scenario: Scenario, seeds: int, count: int, random: np.random.Generator
) -> tuple[float, float]:
    """Return the shares of A/A pairs with p below .05 and below .01."""
    p_values = np.array([one.p_value() for one in trials(scenario, seeds, count, random)])
    return float(np.mean(p_values < 0.05)), float(np.mean(p_values < 0.01))


def _trial(scenario: Scenario, seeds: int, random: np.random.Generator, shift: float) -> Estimate:
    speaker_of = _speakers(scenario, random)
    speakers, utterances = int(speaker_of.max()) + 1, len(speaker_of)
    spread = np.sqrt(1 + scenario.speaker**2 + scenario.seed_by_utterance**2)
    middle = norm.ppf(scenario.accuracy) * spread
    per_point = 0.01 * spread / norm.pdf(norm.ppf(scenario.accuracy))
    ease = middle + random.normal(size=utterances)
    ease += scenario.speaker * random.normal(size=speakers)[speaker_of]
    apart = scenario.speaker_difference * random.normal(size=speakers)[speaker_of]
    apart += shift * per_point
    common = _noise(scenario, seeds, speaker_of, per_point, random)
    correct = []
    for sign in (0.5, -0.5):
        noise = _noise(scenario, seeds, speaker_of, per_point, random)
        if scenario.same_seeds:
            noise = np.sqrt(0.5) * (noise + common)
        correct.append(ease + sign * apart + noise > 0)
    first, second = (accuracy_outcomes(one) for one in correct)
    return difference(first, second, _units(scenario, speaker_of), same_seeds=scenario.same_seeds)


def _noise(
    scenario: Scenario,
    seeds: int,
    speaker_of: npt.NDArray[np.intp],
    per_point: float,
    random: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Return what a seed changes: [seeds, utterances]."""
    speakers, utterances = int(speaker_of.max()) + 1, len(speaker_of)
    noise = scenario.seed_by_utterance * random.normal(size=(seeds, utterances))
    noise += scenario.seed_points * per_point * random.normal(size=(seeds, 1))
    noise += scenario.seed_by_speaker * random.normal(size=(seeds, speakers))[:, speaker_of]
    return noise


def _speakers(scenario: Scenario, random: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return the speaker of each utterance; each speaker has at least two utterances."""
    count = max(1, scenario.speakers)
    shares = random.lognormal(0, 0.7 if scenario.unequal else 0, count)
    sizes = random.multinomial(scenario.utterances - 2 * count, shares / shares.sum()) + 2
    return np.repeat(np.arange(count), sizes)


def _units(scenario: Scenario, speaker_of: npt.NDArray[np.intp]) -> Units:
    named = scenario.speakers > 0
    return sampling_units([str(speaker) if named else "" for speaker in speaker_of])
