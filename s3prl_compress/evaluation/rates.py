"""The learning rate that the one-pass engine chose, for an engine that cannot afford a sweep.

A run of s3prl's runner at official settings takes days, and the learning rate decides more than
most compression does: HuBERT-base SID is 81 % at 1e-1 and 67 % at 1e-4 (s3prl issue 268). The
one-pass engine trains the same head at all rates at once, so its choice on dev stands in for a
sweep (`Settings.rate_from`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import InputError
from ..results.records import RateChoice, ScoreRecord, read_record
from ..tasks.base.engine import ENGINE_VERSIONS
from ..tasks.base.task import Settings, find_task


@dataclass(frozen=True)
class ChosenRate:
    """A learning rate, and the one-pass record that names it."""

    learning_rate: float
    record: str
    """File name in the folder of records."""


def onepass_scores(task: str, *, third_party: bool) -> bool:
    """Tell whether the one-pass engine can score an upstream on a task.

    Not a third-party one on ASR: how many frames it makes is not known beforehand.
    """
    return not (task == "asr" and third_party)


def read_scores(folder: Path) -> list[ScoreRecord]:
    """Return the readable score records that lie in a folder, in the order of their names."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = read_record(path)
        except InputError:
            continue  # `report` names broken ones
        if isinstance(record, ScoreRecord):
            found.append(record)
    return found


def rates_by_onepass(
    records: Iterable[ScoreRecord],
    *,
    checkpoint: str,
    task: str,
    corpus: str,
    settings: Settings,
    seed: int | None,
) -> list[ChosenRate]:
    """Return the rates that complete one-pass records chose for the same upstream and conditions.

    Args:
        records: complete ones, of anything.
        checkpoint: fingerprint of the upstream.
        task: its name.
        corpus: fingerprint of the corpus.
        settings: the recipe's for the one-pass engine, with the padding that it would use.
        seed: a record of this seed comes first; the others follow by their seeds.
    """
    version = find_task(task).version, ENGINE_VERSIONS["onepass"]
    wanted = ("onepass", task, version, checkpoint, corpus, settings.padding, settings.identity())
    fitting = [
        record
        for record in records
        if wanted
        == (
            record.engine,
            record.task,
            (record.task_version, record.engine_version),
            record.upstream.checkpoint_sha256,
            record.corpus.fingerprint,
            record.padding,
            record.settings,
        )
    ]
    fitting.sort(key=lambda record: (record.seed != seed, record.seed or 0))
    return [
        ChosenRate(record.learning_rate, f"{record.predictions.removesuffix('.csv')}.json")
        for record in fitting
        if record.learning_rate is not None
    ]


def choice_of(settings: Settings, rate: ChosenRate | None) -> RateChoice:
    """Return how the learning rate of a run with these settings is found."""
    if rate is not None:
        return "one-pass"
    return "dev sweep" if len(settings.learning_rates) > 1 else "given"
