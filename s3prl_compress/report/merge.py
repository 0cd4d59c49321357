"""From records to a row: one upstream's seeds under the same conditions, merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from ..results.records import LanguageModelRecord, RateChoice, ScoreRecord
from ..statistics import recorded_metric
from .notes import notes_of
from .rows import Conditions, Row

_TWO_SIDED_95 = 1.96


def one_per_seed(records: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    """Keep the newest record of each seed: records are only ever appended.

    Those of an older version of their engine are left out: seeds of different versions have no
    common mean.
    """
    version = max(record.engine_version for record in records)
    newest: dict[int | None, ScoreRecord] = {}
    for record in sorted(records, key=lambda record: record.environment.date):
        if record.engine_version == version:
            newest[record.seed] = record
    return [newest[seed] for seed in sorted(newest, key=lambda seed: -1 if seed is None else seed)]


def merge(records: Sequence[ScoreRecord]) -> Row:
    """Merge one upstream's records, one per seed, into a row.

    The row is not yet compared with others: its place, its role, its speed and the test against
    dense follow in `leaderboard.leaderboard`.
    """
    first = records[0]
    upstream, cost, used = first.upstream, first.upstream.cost, first.language_model
    score, error, spread = over_seeds(
        [record.score for record in records], [record.standard_error for record in records]
    )
    low, high = _interval(records, score, error)
    rates = sorted({one.learning_rate for one in records if one.learning_rate is not None})
    error_rates = [one.other_metrics["cer"] for one in records if "cer" in one.other_metrics]
    return Row(
        conditions=Conditions.of(first),
        upstream=upstream.name,
        base=upstream.base,
        methods=" + ".join(upstream.methods),
        metric=first.metric,
        higher_is_better=first.higher_is_better,
        score=score,
        standard_error=error,
        score_low=low,
        score_high=high,
        cer=fmean(error_rates) if error_rates else None,
        edits=_edits(records),
        runaways=first.runaways,
        seeds=", ".join(str(record.seed) for record in records if record.seed is not None),
        seed_count=len(records),
        seed_spread=spread,
        fold_sizes=tuple(fold.test_size for fold in first.folds),
        fold_spread=_fold_spread(records),
        language_model=_language_model(used) if used else "",
        lm_weight=used.weight if used else None,
        word_score=used.word_score if used else None,
        lm_dev_score=first.dev_score if used else None,
        first_state=int(first.settings.get("first_state", 0)),
        layer_weights=_layer_weights(records),
        learning_rate=" ".join(f"{rate:g}" for rate in rates),
        rate_choice=_rate_choice(records),
        engine_version=first.engine_version,
        test_size=first.test_size,
        chance=first.chance,
        approximate=any(record.approximate for record in records),
        parameters=cost.parameters if cost else None,
        nonzero_parameters=cost.nonzero_parameters if cost else None,
        macs_32=cost.macs_32 if cost else None,
        bytes=cost.bytes if cost else None,
        random_weights=upstream.random_weights,
        generated_speech=first.corpus.generated,
        notes=notes_of(records),
        source=upstream.source,
        checkpoint_sha256=upstream.checkpoint_sha256,
        environment=max((one.environment for one in records), key=lambda where: where.date),
    )


def _language_model(used: LanguageModelRecord) -> str:
    """Describe a language model and the search with it, in words."""
    lexicons = {"lm": "its own words", "none": "no lexicon"}
    lexicon = lexicons.get(used.lexicon, f"the lexicon {used.lexicon}")
    return f"{used.name} ({used.order}-gram, {used.sha256[:8]}), {lexicon}, beam {used.beam}"


def over_seeds(scores: list[float], errors: list[float]) -> tuple[float, float, float | None]:
    """Return mean, its standard error, and the standard deviation over seeds (None for one).

    The error is that of rows without predictions; others get theirs from
    `uncertainty.with_errors`. The seeds share one test set, so its sampling error does not
    shrink with their number; the training's does: error^2 = mean(sampling^2) + spread^2 / seeds.
    """
    mean = fmean(scores)
    sampling = fmean(error**2 for error in errors)
    if len(scores) == 1:
        return mean, math.sqrt(sampling), None
    spread = stdev(scores)
    return mean, math.sqrt(sampling + spread**2 / len(scores)), spread


def _interval(records: Sequence[ScoreRecord], score: float, error: float) -> tuple[float, float]:
    """Return the 95 % interval: the record's own; over seeds, the normal one of their error."""
    if len(records) == 1 and records[0].interval is not None:
        return records[0].interval
    low, high = score - _TWO_SIDED_95 * error, score + _TWO_SIDED_95 * error
    metric = recorded_metric(records[0].metric)
    return (low, high) if metric is None else metric.within_range(low, high)


def _fold_spread(records: Sequence[ScoreRecord]) -> float | None:
    """Return the standard deviation of the folds' scores, mean over seeds; None without folds."""
    spreads = [
        stdev(fold.score for fold in record.folds) for record in records if len(record.folds) > 1
    ]
    return fmean(spreads) if spreads else None


def _edits(records: Sequence[ScoreRecord]) -> dict[str, tuple[float, float, float]]:
    """Return the errors by kind, mean over the seeds; nothing unless all records have them."""
    units = [unit for unit in records[0].edits if all(unit in record.edits for record in records)]
    means = {}
    for unit in units:
        kinds = zip(*(record.edits[unit].rates() for record in records), strict=True)
        substituted, deleted, inserted = map(fmean, kinds)
        means[unit] = (substituted, deleted, inserted)
    return means


def _layer_weights(records: Sequence[ScoreRecord]) -> tuple[float, ...]:
    """Return the mean share of each hidden state over the seeds; () if no record has them."""
    known = [record.layer_weights for record in records if record.layer_weights]
    return tuple(fmean(shares) for shares in zip(*known, strict=True))


def _rate_choice(records: Sequence[ScoreRecord]) -> str:
    """Return how the learning rates were found: of several ways, the weakest."""
    choices = {record.rate_choice for record in records}
    order: tuple[RateChoice, ...] = ("given", "one-pass", "dev sweep")
    return next((choice for choice in order if choice in choices), "")
