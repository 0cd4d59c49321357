"""How far right answers are from those of a random naming of the classes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def read_predictions(path: Path) -> list[tuple[str, str]]:
    """Return (truth, predicted) of every row."""
    with open(path, newline="", encoding="utf-8") as file:
        return [(row["truth"], row["predicted"]) for row in csv.DictReader(file)]


def excess(pairs: Iterable[tuple[str, str]]) -> float:
    """Compare the right answers with those under random renamings of the classes.

    In standard deviations. Clips of one word or of one speaker sound alike and are mistaken alike,
    so that the binomial error of the score would be too small; renaming whole classes keeps what
    belongs together.
    """
    rows = list(pairs)
    names = sorted({truth for truth, _ in rows})
    number = {name: index for index, name in enumerate(names)}
    confusion = np.zeros((len(names), len(names)))
    for truth, predicted in rows:
        if predicted in number:
            confusion[number[truth], number[predicted]] += 1
    random = np.random.default_rng(0)
    columns = np.arange(len(names))
    dealt = [confusion[random.permutation(columns), columns].sum() for _ in range(5000)]
    return float((np.trace(confusion) - np.mean(dealt)) / np.std(dealt))
