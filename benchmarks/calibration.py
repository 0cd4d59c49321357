"""How often the error model finds a difference where there is none, and how often where there is.

    python benchmarks/calibration.py                     # simulated predictions only
    python benchmarks/calibration.py --data SPEECH --tasks er ks --output out/calibration.json

On real speech heads are trained on `hubert_demo` with a pool of seeds, and on the same weights
moved by 0.1 %. Random groups of seeds are then compared, which differ by chance alone: the same
weights with other seeds (two samples), and both weights with the same seeds (pairs). The share of
p below .05 must lie between .02 and .08, that below .01 below .025. Groups of one pool share
seeds: the uncertainty is that of as many pairs as are disjoint, the pool's size over a pair's.

Power is that for a stated difference: right answers of one group are made wrong at random until it
is reached.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from calibration_simulation import SCENARIOS, trials
from common import write_result

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
"""By the name that `--tasks` takes: the folder below the speech."""
MOVED = 0.001
"""Relative size of the random change of all weights."""

Pool = npt.NDArray[np.bool_]
"""Whether each seed is right on each test utterance: [seeds, utterances]."""


def moved(encoder: SpeechEncoder) -> SpeechEncoder:
    """Change all weights by 0.1 % at random, in place."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.mul_(1 + MOVED * torch.randn(weight.shape, generator=random))
    return encoder


def train_pool(
    encoder: SpeechEncoder, task: Task, corpus: Corpus, args: argparse.Namespace
) -> Pool:
    """Train heads with all seeds of the pool and test them."""
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
    results = run_seeds([replace(job, seed=seed) for seed in range(args.pool)])
    return np.array([[truth == own for _, truth, own in one.predictions] for one in results])


def pairs(
    pools: tuple[Pool, Pool],
    compare: Callable[[Pool, Pool, bool], Estimate],
    seeds: int,
    draws: int,
    same_seeds: bool,
) -> list[Estimate]:
    """Compare `draws` random pairs of groups of seeds that differ by chance alone.

    With the same seeds, groups are of both pools; else both groups are of the first one.
    """
    random = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        drawn = random.permutation(len(pools[0]))
        first, second = pools[0][drawn[:seeds]], pools[0][drawn[seeds : 2 * seeds]]
        if same_seeds:
            # Which of the two weights a head is of is left to chance, seed by seed: otherwise all
            # groups would share the pool's mean difference, and vary too little around it.
            swapped = random.random((seeds, 1)) < 0.5
            pair = (pools[0][drawn[:seeds]], pools[1][drawn[:seeds]])
            first, second = np.where(swapped, *pair), np.where(swapped, *pair[::-1])
        found.append(compare(first, second, same_seeds))
    return found


def worsened(group: Pool, points: float, random: np.random.Generator) -> Pool:
    """Make right answers wrong at random, so that scores fall by so many points on average."""
    lost = random.random(group.shape) < points / 100.0 / group.mean()
    return group & ~lost


def summary(found: list[Estimate], independent: int) -> dict[str, float]:
    """Return shares of small p values, and their standard error with so many independent pairs."""
    p_values = np.array([one.p_value() for one in found])
    return {
        "below_05": float(np.mean(p_values < 0.05)),
        "below_01": float(np.mean(p_values < 0.01)),
        "uncertainty": math.sqrt(0.05 * 0.95 / independent),
        "detectable": float(np.median([one.detectable(0.05) for one in found])),
    }


def measure(task: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row per kind of pair and number of seeds, for one set of real speech."""
    kind = task.partition("_")[0]
    folder = prepare_corpus(kind, args.data / SETS[task] / "metadata.csv", args.work / task)
    corpus = open_corpus(folder, kind)
    encoder = load("upstreams/hubert_demo").eval()
    scored = find_task(kind)
    pools = (
        train_pool(encoder, scored, corpus, args),
        train_pool(moved(encoder), scored, corpus, args),
    )
    folds = [len(corpus.items("test", fold)) for fold in corpus.folds]
    units: Units = sampling_units([item.speaker for item in corpus.test_items()])

    def outcomes(group: Pool) -> Outcomes:
        return accuracy_outcomes(group, folds)

    def compare(first: Pool, second: Pool, same_seeds: bool) -> Estimate:
        return difference(outcomes(first), outcomes(second), units, same_seeds=same_seeds)

    random = np.random.default_rng(1)

    def compare_worse(first: Pool, second: Pool, same_seeds: bool) -> Estimate:
        return compare(worsened(first, args.shift, random), second, same_seeds)

    scores = outcomes(pools[0]).values.sum(axis=1)
    print(
        f"{SETS[task]}: {scores.mean():.1f}, standard deviation over {args.pool} seeds "
        f"{scores.std(ddof=1):.2f}; over {units}"
    )
    rows = []
    for same_seeds, what in ((False, "other seeds"), (True, "moved by 0.1 %, same seeds")):
        for seeds in args.seeds:
            used = seeds if same_seeds else 2 * seeds
            if used > args.pool:
                continue
            alike = summary(pairs(pools, compare, seeds, args.draws, same_seeds), args.pool // used)
            worse = summary(
                pairs(pools, compare_worse, seeds, args.draws, same_seeds), args.pool // used
            )
            rows.append(
                {"set": SETS[task], "pairs": what, "seeds": seeds, **alike}
                | {"shift": args.shift, "power": worse["below_05"]}
            )
            _print(rows[-1])
    return rows


def simulated(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row per scenario and number of seeds; test sets are drawn for each pair."""
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
        f"{row['below_05']:.3f} ± {row['uncertainty']:.3f}, p < .01 in {row['below_01']:.3f}; "
        f"{row['shift']:g} points found in {row['power']:.2f}, detectable {row['detectable']:.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of real speech; without it: simulations")
    parser.add_argument("--tasks", nargs="+", choices=SETS, default=["er", "ks", "sid"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--pool", type=int, default=40, help="seeds that are trained")
    parser.add_argument("--draws", type=int, default=400, help="pairs that are compared")
    parser.add_argument("--shift", type=float, default=3.0, help="points, for the power")
    parser.add_argument("--recipe", default="smoke", help="of the heads, see `score --recipe`")
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
