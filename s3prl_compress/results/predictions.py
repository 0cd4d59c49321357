"""Predictions beside the records of a block, as outcomes for the error model."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..statistics import Metric, Outcomes, Units, recorded_metric, sampling_units
from .records import ScoreRecord


@dataclass(frozen=True)
class PredictionLine:
    """One utterance's prediction."""

    truth: str
    predicted: str
    speaker: str
    """Empty if the file does not say."""


@dataclass(frozen=True)
class Predictions:
    """All predictions of one row."""

    utterances: tuple[str, ...]
    """Their names, in the order of the files."""
    truth: tuple[str, ...]
    """Label or text of every utterance, in the same order."""
    predicted: Mapping[int | None, tuple[str, ...]]
    """[utterances] by seed."""
    metric: Metric
    outcomes: Outcomes
    """In the order of `predicted`'s seeds."""
    units: Units

    @property
    def seeds(self) -> list[int | None]:
        """The seeds, in the order of the outcomes."""
        return list(self.predicted)

    def same_utterances(self, other: Predictions) -> bool:
        """Whether both are of the same utterances, with the same truth, in the same order."""
        return self.utterances == other.utterances and self.truth == other.truth

    def under(self, metric: Metric) -> Predictions:
        """Return the same predictions, counted by another metric; without folds."""
        outcomes = metric.outcomes(list(self.truth), list(self.predicted.values()))
        return replace(self, metric=metric, outcomes=outcomes)

    def of_seeds(self, seeds: Sequence[int | None]) -> Outcomes:
        """Return the outcomes of these seeds, in this order."""
        return self.outcomes.only([self.seeds.index(seed) for seed in seeds])


def read_block(cells: Sequence[Sequence[ScoreRecord]]) -> list[Predictions | None]:
    """Read the predictions of a block's rows.

    A row has none (None) where a file is missing, and where its metric is not registered: then
    nothing is known of how its predictions count. Rows of a block are of one corpus: a speaker whom
    one file names is known for all of them.

    Args:
        cells: the records of each row, one per seed, which name their predictions by whole paths.
    """
    files: list[dict[int | None, dict[str, PredictionLine]] | None] = []
    speakers: dict[str, str] = {}
    for records in cells:
        tables = {record.seed: _read(record.predictions) for record in records}
        complete = {seed: lines for seed, lines in tables.items() if lines}
        files.append(complete if len(complete) == len(tables) else None)
        for lines in complete.values():
            speakers |= {name: line.speaker for name, line in lines.items() if line.speaker}
    return [
        None if tables_of_row is None else _of_row(records[0], tables_of_row, speakers)
        for records, tables_of_row in zip(cells, files, strict=True)
    ]


def _of_row(
    record: ScoreRecord,
    tables: Mapping[int | None, dict[str, PredictionLine]],
    speakers: Mapping[str, str],
) -> Predictions | None:
    """Return a row's predictions; None where its seeds are of different utterances."""
    metric = recorded_metric(record.metric)
    if metric is None:
        return None
    first = next(iter(tables.values()))
    truth = {name: line.truth for name, line in first.items()}
    if any(
        {name: line.truth for name, line in lines.items()} != truth for lines in tables.values()
    ):
        return None
    predicted = {
        seed: tuple(lines[name].predicted for name in truth) for seed, lines in tables.items()
    }
    folds = [fold.test_size for fold in record.folds]
    if sum(folds) != len(truth):  # none, or those of a run on other utterances
        folds = []
    return Predictions(
        utterances=tuple(truth),
        truth=tuple(truth.values()),
        predicted=predicted,
        metric=metric,
        outcomes=metric.outcomes(list(truth.values()), list(predicted.values()), folds),
        units=sampling_units([speakers.get(name, "") for name in truth]),
    )


def _read(path: str) -> dict[str, PredictionLine] | None:
    """Read a table of file, truth, predicted, speaker; None if there is no such file or table."""
    try:
        with open(path, newline="", encoding="utf-8") as lines:
            return {
                line["file"]: PredictionLine(
                    line["truth"], line["predicted"], line.get("speaker") or ""
                )
                for line in csv.DictReader(lines)
            }
    except (OSError, UnicodeDecodeError, KeyError, csv.Error):
        return None
