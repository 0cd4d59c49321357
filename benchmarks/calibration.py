"""Calibration of the error model: false alarms on A/A pairs, and power.

    python benchmarks/calibration.py                     # simulated predictions only
    python benchmarks/calibration.py --data SPEECH --tasks er ks --output out/calibration.json

On real speech, heads are trained on `hubert_demo` with a pool of seeds, and on several copies of
it whose weights are perturbed by 0.1 %. Groups that differ by chance alone are then compared:
the same weights with other seeds (two samples), or two perturbed copies with the same seeds
(pairs). The share of p values below .05 must be at most .08, and the share below .01 must be below
.025. With other seeds, the first must be at least .02, too. It may be lower for pairs, whose
differences may be mostly zero: then a t test over a few seeds rarely reaches .05. Pairs share
seeds and copies, so the uncertainty is that of the number of disjoint pairs. Two copies differ on
the same utterances whatever the seed, so that more seeds add no independent pairs of copies: only
more copies do.

Power is measured for a given difference: correct answers of one group are made wrong at random
until the difference is reached.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from calibration_simulation import SCENARIOS, trials
from common import write_result
from tqdm import tqdm

from s3prl_compress.encoder import SpeechEncoder, load
from s3prl_compress.evaluation.onepass import run_seeds
from s3prl_compress.statistics import (
    Estimate,
    Outcomes,
    Units,
    accuracy_outcomes,
    difference,
    sampling_units,
)
from s3prl_compress.tasks.base.corpus import Corpus
from s3prl_compress.tasks.base.engine import Job
from s3prl_compress.tasks.base.task import Task
from s3prl_compress.tasks.registry import find_task, open_corpus, prepare_corpus

SETS = {
    "er": "er_emodb",
    "ks": "ks_fsdd_newspk_large",
    "ks_words": "ks_arabic_sc_large",
    "sid": "sid_arabic_sc_large",
}
"""Folders of the speech data by the name that `--tasks` accepts."""
PERTURBATION = 0.001
"""Relative size of the random change of all weights."""

Pool = npt.NDArray[np.bool_]
"""Whether each seed's prediction of each test utterance is correct: [seeds, utterances]."""


def perturbed(encoder: SpeechEncoder, number: int) -> SpeechEncoder:
    """Return a copy with all weights perturbed by 0.1 % at random; `number` decides how."""
    random = torch.Generator().manual_seed(number)
    copied = copy.deepcopy(encoder)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.mul_(1 + PERTURBATION * torch.randn(weight.shape, generator=random))
    return copied


def train_pool(
    encoder: SpeechEncoder, task: Task, corpus: Corpus, seeds: int, args: argparse.Namespace
) -> Pool:
    """Train heads with `seeds` seeds and return which test predictions are correct."""
    settings, _ = task.load_settings(args.recipe, "onepass")
    job = Job(
        encoder=encoder,
        checkpoint=None,
        task=task,
        corpus=corpus,
        settings=settings,
        seed=0,
        padding=settings.padding,
        work=args.work / "cell",
        device=args.device,
    )
    job.work.mkdir(parents=True, exist_ok=True)
    results = run_seeds([replace(job, seed=seed) for seed in range(seeds)])
    return np.array([[truth == own for _, truth, own in one.predictions] for one in results])


def pairs(
    pools: Sequence[Pool],
    compare: Callable[[Pool, Pool, bool], Estimate],
    seeds: int,
    draws: int,
) -> list[Estimate]:
    """Compare `draws` random pairs of groups of seeds that differ by chance alone.

    From one pool, the groups have different seeds. From several, each draw takes two of the pools
    and the same seeds of both: the pools' weights differ by chance, and so do the answers to single
    utterances, whatever the seed.
    """
    random = np.random.default_rng(0)
    estimates = []
    for _ in range(draws):
        drawn = random.permutation(len(pools[0]))
        if len(pools) == 1:
            first, second = pools[0][drawn[:seeds]], pools[0][drawn[seeds : 2 * seeds]]
        else:
            one, other = random.permutation(len(pools))[:2]
            first, second = pools[one][drawn[:seeds]], pools[other][drawn[:seeds]]
        estimates.append(compare(first, second, len(pools) > 1))
    return estimates


def worsened(group: Pool, points: float, random: np.random.Generator) -> Pool:
    """Make correct answers wrong at random, so that scores fall by `points` on average."""
    made_wrong = random.random(group.shape) < points / 100.0 / group.mean()
    return group & ~made_wrong


def summary(estimates: list[Estimate], independent: int) -> dict[str, float]:
    """Return the shares of p values, with the standard error of .05 for `independent` pairs.

    The share below .5 shows calibration where too few pairs are independent to fill the tail.
    """
    p_values = np.array([one.p_value() for one in estimates])
    return {
        "below_05": float(np.mean(p_values < 0.05)),
        "below_01": float(np.mean(p_values < 0.01)),
        "below_50": float(np.mean(p_values < 0.5)),
        "uncertainty": math.sqrt(0.05 * 0.95 / independent),
        "detectable": float(np.median([one.detectable(0.05) for one in estimates])),
    }


def measure(task: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each kind of pair and number of seeds, on one set of real speech."""
    kind = task.partition("_")[0]
    folder = prepare_corpus(kind, args.data / SETS[task] / "metadata.csv", args.work / task)
    corpus = open_corpus(folder, kind)
    encoder = load("upstreams/hubert_demo").eval()
    scored = find_task(kind)
    pool = train_pool(encoder, scored, corpus, args.pool, args)
    alike = [
        train_pool(perturbed(encoder, number), scored, corpus, args.perturbed_pool, args)
        for number in tqdm(range(args.perturbations), desc=f"{task}, perturbed", unit="encoder")
    ]
    folds = [len(corpus.items("test", fold)) for fold in corpus.folds]
    units: Units = sampling_units([item.speaker for item in corpus.test_items()])

    def outcomes(group: Pool) -> Outcomes:
        return accuracy_outcomes(group, folds)

    def compare(first: Pool, second: Pool, same_seeds: bool) -> Estimate:
        return difference(outcomes(first), outcomes(second), units, same_seeds=same_seeds)

    random = np.random.default_rng(1)

    def compare_worse(first: Pool, second: Pool, same_seeds: bool) -> Estimate:
        return compare(worsened(first, args.shift, random), second, same_seeds)

    scores = outcomes(pool).values.sum(axis=1)
    print(
        f"{SETS[task]}: {scores.mean():.1f}, standard deviation over {args.pool} seeds "
        f"{scores.std(ddof=1):.2f}; over {units}"
    )
    _print_differences_by_seed(np.array([outcomes(one).values.sum(axis=1) for one in alike]))
    rows = []
    for pools, what in (([pool], "other seeds"), (alike, "moved by 0.1 %, same seeds")):
        for seeds in args.seeds:
            # Disjoint pairs: of copies, or of groups of seeds of one pool.
            independent = len(pools) // 2 or args.pool // (2 * seeds)
            if not independent:
                continue
            equal = summary(pairs(pools, compare, seeds, args.draws), independent)
            worse = summary(pairs(pools, compare_worse, seeds, args.draws), independent)
            rows.append(
                {"set": SETS[task], "pairs": what, "seeds": seeds, **equal}
                | {"shift": args.shift, "power": worse["below_05"]}
            )
            _print(rows[-1])
    return rows


def _print_differences_by_seed(scores: npt.NDArray[np.float64]) -> None:
    """Print how often pairs of perturbed encoders [encoders, seeds] have nearly equal scores."""
    first, second = np.triu_indices(len(scores), 1)
    differences = np.abs(scores[first] - scores[second])
    print(
        f"perturbed pairs, seed by seed: {np.mean(differences < 0.3):.0%} differ by less than 0.3 "
        f"points, {np.mean(differences > 1.0):.0%} by more than 1"
    )


def simulated(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each scenario and number of seeds; each pair has its own test set."""
    random = np.random.default_rng(0)
    rows = []
    for scenario in SCENARIOS:
        for seeds in args.seeds:
            alike = summary(trials(scenario, seeds, args.draws, random), args.draws)
            worse = trials(scenario, seeds, args.draws, random, shift=args.shift)
            power = float(np.mean([one.p_value() < 0.05 for one in worse]))
            rows.append(
                {"set": scenario.name, "pairs": "simulated", "seeds": seeds, **alike}
                | {"shift": args.shift, "power": power}
            )
            _print(rows[-1])
    return rows


def _print(row: dict[str, Any]) -> None:
    print(
        f"{row['set']:34} {row['pairs']:26} {row['seeds']:3} seeds: p < .05 in "
        f"{row['below_05']:.3f} ± {row['uncertainty']:.3f}, p < .01 in {row['below_01']:.3f}, "
        f"p < .5 in {row['below_50']:.2f}; "
        f"power for {row['shift']:g} points {row['power']:.2f}, "
        f"detectable {row['detectable']:.1f} points",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of real speech; without it, simulate")
    parser.add_argument("--tasks", nargs="+", choices=SETS, default=["er", "ks", "sid"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--pool", type=int, default=40, help="number of seeds to train")
    parser.add_argument(
        "--perturbations", type=int, default=40, help="number of perturbed encoders, at least 2"
    )
    parser.add_argument(
        "--perturbed-pool", type=int, default=20, help="number of seeds to train on each of them"
    )
    parser.add_argument("--draws", type=int, default=400, help="number of pairs to compare")
    parser.add_argument("--shift", type=float, default=3.0, help="difference for the power, points")
    parser.add_argument("--recipe", default="smoke", help="recipe of the heads, as for `score`")
    parser.add_argument("--work", type=Path, default=Path("out/calibration"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.data is None:
        rows = simulated(args)
    else:
        rows = [row for task in args.tasks for row in measure(task, args)]
    write_result(args.output, rows, args.device)


if __name__ == "__main__":
    main()
