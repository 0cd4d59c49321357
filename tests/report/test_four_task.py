from __future__ import annotations

import math
from typing import Any

import pytest

from s3prl_compress.report.four_task import (
    OFFICIAL_VARIANTS,
    REFERENCE_POINTS,
    four_task_score,
    warning,
    why_not_comparable,
)
from s3prl_compress.report.merge import merge
from s3prl_compress.report.rows import Row
from s3prl_compress.results.records import CorpusRecord
from s3prl_compress.tasks.registry import available_tasks

from ..support.made_up import score, upstream

BASE = {task: points[0] for task, points in REFERENCE_POINTS.items()} | {"asr": 100 - 76.82}
TOP = {task: points[1] for task, points in REFERENCE_POINTS.items()} | {"asr": 100 - 96.38}


def test_the_reference_points_are_0_and_1000() -> None:
    assert four_task_score(BASE)[0] == pytest.approx(0)
    assert four_task_score(TOP)[0] == pytest.approx(1000)


def test_a_published_row_by_hand() -> None:
    # HuBERT base: (0.99349 + 0.87358 + 0.86072 + 0.85685) / 4.
    scores = {"ks": 96.30, "sid": 81.42, "er": 64.92, "asr": 6.42}
    assert four_task_score(scores)[0] == pytest.approx(896.2, abs=0.05)


def test_official_variants_are_the_tasks_first_ones() -> None:
    tasks = available_tasks()
    assert {name: tasks[name].variants[0] for name in OFFICIAL_VARIANTS} == OFFICIAL_VARIANTS


def test_errors_of_the_tasks_add_in_squares() -> None:
    errors = dict.fromkeys(TOP, 0.0) | {"ks": 0.3}
    expected = 1000 * 0.3 / (96.66 - 41.3826674) / 4
    assert four_task_score(TOP, errors)[1] == pytest.approx(expected)
    both = errors | {"er": 1.0}
    more = 1000 / (67.62 - 48.23672) / 4
    assert four_task_score(TOP, both)[1] == pytest.approx(math.hypot(expected, more))


def _row(**more: Any) -> Row:
    """An official row of speaker identification, with other values."""
    generated, rate_choice = more.pop("generated", False), more.pop("rate_choice", "dev sweep")
    name = more.pop("corpus", "VoxCeleb1")
    corpus = CorpusRecord(name=name, fingerprint="ab" * 32, sizes={}, generated=generated)
    values = {"task": "sid", "variant": "voxceleb1", "recipe": "official", **more}
    return merge([score(upstream("who"), 80.0, corpus=corpus, rate_choice=rate_choice, **values)])


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        (_row(), []),
        (_row(recipe="smoke"), ["recipe smoke"]),
        (_row(rate_choice="one-pass"), []),
        (_row(rate_choice="given"), ["one learning rate, not tuned"]),
        (_row(rate_choice="given", recipe="smoke"), ["recipe smoke"]),
        (_row(variant="speakers", corpus="mine"), ["corpus mine (speakers)"]),
        (
            _row(recipe="smoke", variant="speakers", generated=True),
            ["recipe smoke", "generated speech"],
        ),
    ],
)
def test_only_official_runs_on_real_corpora_are_comparable(row: Row, reasons: list[str]) -> None:
    assert why_not_comparable(row) == reasons


def test_the_warning_says_whether_it_is_of_all_rows() -> None:
    assert warning([_row()]) is None
    assert warning([_row(recipe="smoke")]) == (
        "These scores are not comparable with published scores: recipe smoke."
    )
    assert str(warning([_row(recipe="smoke"), _row()])).startswith("Some scores are not comparable")
