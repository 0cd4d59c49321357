"""Simulated predictions with known variances, to check an error model against.

A prediction is correct if a latent variable is above 0: the ease of the utterance plus effects of
its speaker, of the seed, of seed and speaker, and of seed and utterance (a probit model). Two
variants of one model ("A/A") differ in nothing but their seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from s3prl_compress.statistics import Estimate, Units, accuracy_outcomes, difference, sampling_units


@dataclass(frozen=True)
class Scenario:
    """A test set with the variances of its effects; standard deviations are on the latent scale."""

    name: str
    speakers: int
    """Number of speakers; 0 if the test set does not name them."""
    utterances: int = 600
    unequal: bool = False
    """Whether the speakers' numbers of utterances are log-normal, with a deviation of 0.7."""
    speaker: float = 0.0
    """Standard deviation of the speakers' effect."""
    seed_points: float = 0.0
    """Standard deviation of the seeds' effect that all utterances share, in accuracy points."""
    seed_by_speaker: float = 0.0
    """Standard deviation of the effect of seed and speaker."""
    seed_by_utterance: float = 0.5
    """Standard deviation of the effect of seed and utterance."""
    accuracy: float = 0.75
    same_seeds: bool = True
    """Whether the variants share their seeds, and with them half of the seeds' variance."""
    speaker_difference: float = 0.0
    """Standard deviation over speakers of the variants' difference, whose mean is 0."""


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
        scenario: the test set and its variances.
        seeds: number of seeds of each variant.
        count: number of pairs; each has a test set of its own.
        random: source of all random numbers.
        shift: true difference in points; 0 for A/A pairs.
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
    """Return the effects of the seeds: [seeds, utterances]."""
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
