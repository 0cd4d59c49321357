"""SID and ER on recordings of people, in one pass: true and shuffled labels.

ER's upstream has random weights; random features carry enough to tell a few emotions apart, which
is all that a smoke test needs: that audio, labels and splits reach the heads as they should. SID's
is the packaged one: its 45 utterances are too few for random features.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, load, random_encoder
from s3prl_compress.evaluation import score
from s3prl_compress.results.records import ScoreRecord
from s3prl_compress.tasks.registry import prepare_corpus

from .excess import excess, read_predictions

pytestmark = pytest.mark.speech

SETS = {"sid": "sid_arabic_sc", "er": "er_emodb"}


@dataclass(frozen=True)
class Cells:
    true: ScoreRecord
    shuffled: ScoreRecord
    folder: Path

    def excess(self, record: ScoreRecord) -> float:
        """See `excess.excess`."""
        return excess(read_predictions(self.folder / record.predictions))


@pytest.fixture(scope="module")
def cells(speech_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cells]:
    found = {}
    for task, name in SETS.items():
        encoder = _upstream(task).eval()
        table = speech_data / name / "metadata.csv"
        if not table.is_file():
            pytest.skip(f"SPEECH_DATA has no {name}")
        folder = tmp_path_factory.mktemp(task)
        tables = (table, _shuffled(task, table, folder / "shuffled.csv"))
        records = [
            score(
                encoder,
                task,
                data=prepare_corpus(task, given, folder / given.stem),
                output=folder,
                recipe="smoke",
                device="cpu",
            )
            for given in tables
        ]
        found[task] = Cells(records[0], records[1], folder)
    return found


@pytest.mark.parametrize("task", SETS)
def test_above_chance(cells: dict[str, Cells], task: str) -> None:
    record = cells[task].true
    assert record.chance is not None
    assert record.score > record.chance + 3 * record.standard_error
    assert not record.approximate
    assert len(record.folds) == {"sid": 0, "er": 5}[task]


@pytest.mark.parametrize("task", SETS)
def test_at_chance_with_shuffled_labels(cells: dict[str, Cells], task: str) -> None:
    true, shuffled = cells[task].true, cells[task].shuffled
    assert shuffled.chance is not None
    if task == "sid":  # a speaker's clips are mistaken alike
        assert abs(cells[task].excess(shuffled)) < 3 < cells[task].excess(true)
    else:  # every test clip has a label of its own drawing
        assert shuffled.score < shuffled.chance + 2 * shuffled.standard_error
    assert shuffled.score < true.score - 2 * true.standard_error


def _upstream(task: str) -> SpeechEncoder:
    if task == "sid":
        return load("hubert_demo")
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


def _shuffled(task: str, table: Path, output: Path) -> Path:
    """Write the table with labels in another order: SID's in training, ER's in each session."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    random = np.random.default_rng(0)
    for split in {row["split"] for row in rows} - {"valid", "test"}:
        part = [row for row in rows if row["split"] == split]
        labels = [part[index]["label"] for index in random.permutation(len(part))]
        for row, label in zip(part, labels, strict=True):
            row["label"] = label
    columns = ("file", "label", "speaker", "split")
    with open(output, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            speaker = row["speaker"] if task == "er" else ""  # SID's is the label
            path = (table.parent / row["file"]).resolve()
            writer.writerow(row | {"file": str(path), "speaker": speaker})
    return output
