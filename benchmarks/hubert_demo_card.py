"""Evaluate hubert_demo for its model card: what it has learned beyond spectra and random weights.

    python benchmarks/hubert_demo_card.py --data SPEECH_DIR --output out/hubert_demo_card.json \
        --card upstreams/hubert_demo/README.md

All upstreams have the same head (softmax-weighted sum of the hidden states, mean over frames, two
linear layers), the same number of steps and the same sweep of learning rates, on the one-pass
engine. They are the encoder, the same encoder with random weights, and statistics of log-mels and
MFCC. Their features are standardised over the training utterances; one more row has the encoder's
states without that. The learning rate and the number of steps are chosen on dev; the weights of the
layers are trained. The data are four small sets of real speech, `SPEECH_DIR/<set>/metadata.csv` in
the form that `prepare` takes.

Differences are between means over the sets. Their errors come from a bootstrap. Each draw resamples
the test utterances of every set (within folds if there are any), the same for all upstreams, and
the seeds, separately for every upstream and set. A seed determines the head, the batches, and the
weights of the random encoder.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from common import write_result
from spectral_upstreams import KINDS, SpectralUpstream, StandardisedEncoder
from tqdm import tqdm

from s3prl_compress.common.files import write_atomically
from s3prl_compress.common.validation import pick_device
from s3prl_compress.encoder import SpeechEncoder, fingerprint, load, random_encoder
from s3prl_compress.evaluation import onepass
from s3prl_compress.tasks.base.corpus import Corpus
from s3prl_compress.tasks.base.engine import Job
from s3prl_compress.tasks.base.task import Settings
from s3prl_compress.tasks.registry import (
    find_task,
    load_settings,
    open_corpus,
    prepare_corpus,
)

SETS = {"ks_arabic_sc": "ks", "ks_fsdd": "ks", "sid_arabic_sc": "sid", "er_emodb": "er"}
RATES = (3e-1, 1e-1, 3e-2, 1e-2, 1e-3, 1e-4)
TRAINED, RANDOM, AS_IT_IS = "trained", "random weights", "trained, not standardised"
DRAWS = 10_000

Rights = npt.NDArray[np.float64]
"""1 where a prediction is right: [seeds, test utterances]."""


@dataclass(frozen=True)
class Cells:
    """All seeds of one upstream on one set."""

    rights: Rights
    folds: tuple[int, ...]
    """Test utterances of each fold, in order; one number where there are no folds."""
    chosen: list[dict[str, float]]
    """Learning rate and dev score of every seed."""

    def accuracy(self) -> float:
        """Return the mean over seeds and folds, in percent."""
        parts = np.split(self.rights, np.cumsum(self.folds)[:-1], axis=1)
        return float(np.mean([100 * part.mean() for part in parts]))


def settings_for(task: str, steps: int) -> Settings:
    """Return the task's smoke settings with this script's rates, batches and steps."""
    settings, _ = load_settings(task, "smoke", "onepass")
    changes: dict[str, Any] = {
        "learning_rates": RATES,
        "total_steps": steps,
        "eval_step": max(1, steps // 40),
        "batch_size": 32,
        "accumulation": 1,
    }
    return settings.model_copy(update=changes)


def upstream(kind: str, trained: SpeechEncoder, corpus: Corpus, seed: int) -> SpeechEncoder:
    """Return one of the upstreams, ready for a corpus."""
    if kind == AS_IT_IS:
        return trained
    if kind == TRAINED:
        return StandardisedEncoder(trained, corpus).eval()
    if kind == RANDOM:
        drawn = random_encoder(trained.shape, seed=seed, normalize=trained.normalize)
        return StandardisedEncoder(drawn, corpus).eval()
    spectral = SpectralUpstream(kind).eval()
    spectral.standardise(corpus)
    return spectral


def score_set(
    task: str,
    corpus: Corpus,
    trained: SpeechEncoder,
    seeds: Sequence[int],
    steps: int,
    work: Path,
    device: str,
) -> dict[str, Cells]:
    """Score all upstreams on one corpus of a task with every seed."""
    settings = settings_for(task, steps)
    folds = tuple(len(corpus.items("test", fold)) for fold in corpus.folds)
    cells = {}
    for kind in tqdm((TRAINED, RANDOM, *KINDS, AS_IT_IS), desc=corpus.name, unit="upstream"):
        rights, chosen = [], []
        for seed in seeds:
            job = Job(
                encoder=upstream(kind, trained, corpus, seed),
                checkpoint=None,
                task=find_task(task),
                corpus=corpus,
                settings=settings,
                seed=seed,
                padding="independent",
                work=work / corpus.name / re.sub(r"\W+", "_", kind) / f"seed{seed}",
                device=device,
                cache=work / "features",
            )
            job.work.mkdir(parents=True, exist_ok=True)
            result = onepass.run(job)
            rights.append([float(truth == given) for _, truth, given in result.predictions])
            chosen.append(
                {"learning_rate": result.learning_rate, "dev_score": float(result.dev_score)}
            )
        cells[kind] = Cells(np.array(rights), folds, chosen)
    return cells


def bootstrap_means(
    sets: Mapping[str, Mapping[str, Cells]], draws: int = DRAWS, seed: int = 0
) -> dict[str, npt.NDArray[np.float64]]:
    """Return bootstrap draws of every upstream's mean accuracy over the sets, [draws], in percent.

    Draw n of one upstream and draw n of another are of the same utterances: their difference is
    paired.
    """
    generator = np.random.default_rng(seed)
    totals: dict[str, list[npt.NDArray[np.float64]]] = {}
    for cells in sets.values():
        folds = next(iter(cells.values())).folds
        # How often each utterance is drawn, fold by fold, as shares of the set's accuracy.
        weights = np.concatenate(
            [generator.multinomial(n, np.full(n, 1 / n), size=draws) / n for n in folds], axis=1
        ) / len(folds)
        for kind, own in cells.items():
            seeds = len(own.rights)
            shares = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
            drawn = 100 * np.einsum("ds,su,du->d", shares, own.rights, weights, optimize=True)
            totals.setdefault(kind, []).append(drawn)
    return {kind: np.mean(drawn, axis=0) for kind, drawn in totals.items()}


def summarise(sets: Mapping[str, Mapping[str, Cells]], draws: int = DRAWS) -> dict[str, Any]:
    """Return accuracies, means over the sets, and the differences from the trained encoder."""
    drawn = bootstrap_means(sets, draws)
    kinds = list(drawn)
    accuracies = {kind: {name: sets[name][kind].accuracy() for name in sets} for kind in kinds}
    single = {name: bootstrap_means({name: sets[name]}, draws) for name in sets}
    errors = {kind: {name: float(single[name][kind].std()) for name in sets} for kind in kinds}
    means = {kind: float(np.mean(list(accuracies[kind].values()))) for kind in kinds}
    differences = {}
    for kind in kinds:
        if kind == TRAINED:
            continue
        paired = drawn[TRAINED] - drawn[kind]
        low, high = np.percentile(paired, [2.5, 97.5])
        differences[kind] = {
            "difference": means[TRAINED] - means[kind],
            "standard_error": float(paired.std()),
            "low": float(low),
            "high": float(high),
        }
    return {
        "accuracy": accuracies,
        "standard_error": errors,
        "mean": means,
        "mean_standard_error": {kind: float(drawn[kind].std()) for kind in kinds},
        "differences": differences,
    }


def tables(summary: Mapping[str, Any], names: Sequence[str], seeds: int) -> str:
    """Return the card's two tables in markdown."""
    lines = [
        f"Accuracy in percent ± standard error (bootstrap over test utterances and {seeds} seeds).",
        "",
        f"| upstream | {' | '.join(names)} | mean |",
        f"|---{'|---' * len(names)}|---|",
    ]
    for kind, mean in summary["mean"].items():
        values = [
            f"{summary['accuracy'][kind][name]:.1f} ± {summary['standard_error'][kind][name]:.1f}"
            for name in names
        ]
        error = summary["mean_standard_error"][kind]
        lines.append(f"| {kind} | {' | '.join(values)} | {mean:.1f} ± {error:.1f} |")
    lines += [
        "",
        f"Difference of the means over {len(names)} sets, paired by utterance, with its standard "
        "error.",
        "",
        f"| {TRAINED} less | difference | 95 % interval | standard errors |",
        "|---|---|---|---|",
    ]
    for kind, one in summary["differences"].items():
        ratio = one["difference"] / one["standard_error"] if one["standard_error"] else float("nan")
        lines.append(
            f"| {kind} | {one['difference']:+.1f} ± {one['standard_error']:.1f} | "
            f"{one['low']:+.1f} to {one['high']:+.1f} | {ratio:.1f} |"
        )
    return "\n".join(lines)


def into_card(card: Path, text: str) -> None:
    """Put the tables between the card's two marks."""
    marks = "<!-- card: begin -->", "<!-- card: end -->"
    before = card.read_text(encoding="utf-8")
    if any(mark not in before for mark in marks):
        raise SystemExit(f"{card}: has no marks {marks[0]} and {marks[1]}")
    pattern = f"(?s){marks[0]}.*{marks[1]}"
    between = "\n".join((marks[0], text, marks[1]))
    write_atomically(card, re.sub(pattern, lambda _: between, before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--model", default="hubert_demo")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, help="where corpora and features are kept")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--card", type=Path, help="model card, to be written into")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)

    trained = load(arguments.model)
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        score = partial(
            score_set, trained=trained, seeds=arguments.seeds, steps=arguments.steps,
            work=work, device=device,
        )  # fmt: skip
        sets = {}
        for name in arguments.sets:
            task = SETS[name]
            table = arguments.data / name / "metadata.csv"
            corpus = open_corpus(prepare_corpus(task, table, work / "corpora" / name), task)
            sets[name] = score(task, corpus)
    summary = summarise(sets)
    text = tables(summary, arguments.sets, len(arguments.seeds))
    print(f"\n{text}")
    figures = {
        "model": arguments.model,
        "sha256": fingerprint(trained),
        "seeds": arguments.seeds,
        "steps": arguments.steps,
        "learning_rates": RATES,
        "chosen": {
            name: {kind: own.chosen for kind, own in cells.items()} for name, cells in sets.items()
        },
        **summary,
    }
    write_result(arguments.output, figures, device)
    if arguments.card is not None:
        into_card(arguments.card, text)


if __name__ == "__main__":
    main()
