"""Keyword spotting on recordings of people: both engines, true and shuffled training labels.

The upstream has random weights; random features carry enough to tell a few words apart, which is
all that a smoke test needs: that audio, labels and splits reach the heads as they should.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from s3prl_compress.encoder import NAMED_SHAPES, random_encoder
from s3prl_compress.evaluation import score
from s3prl_compress.results.records import Engine, ScoreRecord
from s3prl_compress.tasks.base.task import ENGINES
from s3prl_compress.tasks.ks.prepare import prepare_keywords

from .excess import excess, read_predictions

pytestmark = [pytest.mark.speech, pytest.mark.s3prl]

SETS = ("ks_arabic_sc", "ks_fsdd")
RECIPE = Path(__file__).parent / "ks.yaml"
SILENCE = "_silence_"


@dataclass(frozen=True)
class Cell:
    record: ScoreRecord
    excess: float
    """How many standard deviations more of the words are right than if the classes' names were
    dealt out at random. Silence is left aside: its labels are never shuffled."""


@pytest.fixture(scope="module", params=SETS)
def cells(
    request: pytest.FixtureRequest, speech_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[Engine, bool], Cell]:
    folder = tmp_path_factory.mktemp(request.param)
    table = speech_data / request.param / "metadata.csv"
    if not table.is_file():
        pytest.skip(f"SPEECH_DATA has no {request.param}")
    true = prepare_keywords(table, folder / "true")
    shuffled = prepare_keywords(_shuffled(table, folder / "shuffled.csv"), folder / "shuffled")
    encoder = random_encoder(NAMED_SHAPES["hubert_small"]).eval()
    found = {}
    for engine in ENGINES:
        for is_shuffled, data in ((False, true), (True, shuffled)):
            output = folder / f"{engine}_{data.name}"
            record = score(
                encoder, "ks", data=data, output=output, engine=engine, recipe=RECIPE, device="cpu"
            )
            words = [
                pair for pair in read_predictions(output / record.predictions) if pair[0] != SILENCE
            ]
            found[engine, is_shuffled] = Cell(record, excess(words))
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_above_chance(cells: dict[tuple[Engine, bool], Cell], engine: Engine) -> None:
    cell = cells[engine, False]
    assert cell.record.score > cell.record.chance + 2 * cell.record.standard_error
    assert cell.excess > 2


def test_the_engines_agree(cells: dict[tuple[Engine, bool], Cell]) -> None:
    onepass, s3prl = cells["onepass", False].record, cells["s3prl", False].record
    error = math.hypot(onepass.standard_error, s3prl.standard_error)
    assert abs(onepass.score - s3prl.score) <= 2 * error
    assert onepass.test_size == s3prl.test_size
    assert not onepass.approximate


@pytest.mark.parametrize("engine", ENGINES)
def test_at_chance_with_shuffled_labels(
    cells: dict[tuple[Engine, bool], Cell], engine: Engine
) -> None:
    assert abs(cells[engine, True].excess) < 3
    assert cells[engine, True].record.score < cells[engine, False].record.score


def _shuffled(table: Path, output: Path) -> Path:
    """Write the table with the training words' labels in another order."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    words = [row for row in rows if row["split"] == "train" and row["label"] != SILENCE]
    order = np.random.default_rng(0).permutation(len(words))
    for row, label in zip(words, [words[index]["label"] for index in order], strict=True):
        row["label"] = label
    columns = ("file", "label", "speaker", "split")
    with open(output, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"file": str((table.parent / row["file"]).resolve())})
    return output
