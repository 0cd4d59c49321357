"""The learning rate that the one-pass engine chose, for use by s3prl's engine.

A run of s3prl's runner at official settings takes days, and the learning rate decides more than
most compression does: HuBERT-base SID is 81 % at 1e-1 and 67 % at 1e-4 (s3prl issue 268). The
one-pass engine trains the same head at all rates at once, so its choice on dev replaces a sweep
(`Settings.rate_from`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import InputError
from ..results.records import RateChoice, ScoreRecord, read_record
from ..tasks.base.task import Settings, Task
from .identity import cell_identity, record_identity


@dataclass(frozen=True)
class ChosenRate:
    """A learning rate, and the one-pass record that names it."""

    learning_rate: float
    record: str
    """File name in the folder of records."""


def onepass_scores(task: Task, *, third_party: bool) -> bool:
    """Tell whether the one-pass engine can score an upstream on a task.

    It cannot store the frames of a third-party upstream: their number is not known beforehand.
    """
    return not (third_party and task.features == "frames")


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
    task: Task,
    corpus: str,
    settings: Settings,
    seed: int | None,
) -> list[ChosenRate]:
    """Return the rates that complete one-pass records chose for the same upstream and conditions.

    Args:
        records: complete ones, of anything.
        checkpoint: fingerprint of the upstream.
        task: of the cell.
        corpus: fingerprint of the corpus.
        settings: the recipe's for the one-pass engine, with the padding that it would use.
        seed: a record of this seed comes first; the others follow by their seeds.
    """
    wanted = cell_identity(checkpoint, corpus, task, settings, "onepass", None)
    fitting = [record for record in records if record_identity(record) | {"seed": None} == wanted]
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
