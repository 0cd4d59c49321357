"""Cells: their order, which ones `--only` means, and how they go to a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.suite.cells import cells_of, rate_cells, required_upstreams, select_cells
from s3prl_compress.suite.groups import batches_of, groups_of
from s3prl_compress.suite.suite_file import Suite

SUITE: dict[str, Any] = {
    "output": "out",
    "upstreams": [
        {"name": "dense", "random": {"shape": "hubert_tiny"}},
        {"name": "half", "from": "dense", "method": "magnitude"},
        {"name": "quarter", "from": "half", "method": "magnitude"},
        {"name": "other", "source": "somewhere"},
    ],
    "tasks": [{"task": "ks", "data": "demo", "engines": ["onepass", "s3prl"]}],
    "seeds": [0, 1],
    "time": {"against": "dense"},
}


@pytest.fixture
def suite() -> Suite:
    return Suite.model_validate(SUITE)


def test_all_cells_in_an_order_in_which_they_can_be_done(suite: Suite) -> None:
    cells = cells_of(suite)
    assert len(cells) == len(set(cells)) == 4 + 1 * 2 * 2 * 4 + 3
    assert len({cell.stem for cell in cells}) == len(cells)
    made: set[str] = set()
    for cell in cells:
        assert made.issuperset(required_upstreams(suite, cell)), cell.title
        if cell.kind == "upstream":
            made.add(cell.upstream)


@pytest.mark.parametrize(
    ("only", "titles"),
    [
        ("upstream half", ["upstream dense", "upstream half"]),
        ("time quarter", ["upstream dense", "upstream half", "upstream quarter", "time quarter"]),
        ("time other", ["upstream dense", "upstream other", "time other"]),
        (
            "ks other * seed 1, time other",
            [
                "upstream dense",
                "upstream other",
                "ks other onepass seed 1",
                "ks other s3prl seed 1",
                "time other",
            ],
        ),
    ],
)
def test_only_takes_what_it_needs_along(suite: Suite, only: str, titles: list[str]) -> None:
    assert [cell.title for cell in select_cells(suite, cells_of(suite), only)] == titles


@pytest.mark.parametrize(("only", "scores"), [("ks", 16), ("s3prl", 8), ("half", 4), ("time", 0)])
def test_only_knows_tasks_engines_upstreams_and_kinds(suite: Suite, only: str, scores: int) -> None:
    chosen = select_cells(suite, cells_of(suite), only)
    assert sum(cell.kind == "score" for cell in chosen) == scores


def test_a_pattern_that_fits_nothing_is_named(suite: Suite) -> None:
    with pytest.raises(InputError, match="--only asr: matches no cell"):
        select_cells(suite, cells_of(suite), "ks,asr")


def test_the_corpora_of_a_task_can_be_told_apart() -> None:
    places = [
        "corpora/LibriSpeech/test-clean",
        "corpora/LibriSpeech/test-other",
        "own/metadata.csv",
    ]
    tasks = [{"task": "asr", "data": data, "engines": ["onepass"]} for data in places]
    suite = Suite.model_validate(SUITE | {"tasks": tasks, "seeds": [0]})
    cells = cells_of(suite)
    titles = [cell.title for cell in select_cells(suite, cells, "test-other, asr own half *")]
    assert [title for title in titles if title.startswith("asr")] == [
        "asr test-other dense onepass seed 0",
        "asr test-other half onepass seed 0",
        "asr test-other quarter onepass seed 0",
        "asr test-other other onepass seed 0",
        "asr own half onepass seed 0",
    ]


def test_cells_that_take_their_rate_from_one_pass_come_after_it() -> None:
    tasks = [
        {"task": "asr", "data": "there", "recipe": "official", "engines": ["s3prl"]},
        {"task": "asr", "data": "there", "recipe": "official", "upstreams": ["dense"]},
        {"task": "asr", "data": "elsewhere", "recipe": "official", "seeds": [1]},
        {"task": "ks", "data": "there", "recipe": "smoke", "engines": ["s3prl", "onepass"]},
    ]
    fbank = {"name": "fbank", "s3prl": "fbank"}
    upstreams = [*SUITE["upstreams"][:2], fbank]
    suite = Suite.model_validate(SUITE | {"tasks": tasks, "upstreams": upstreams})
    cells = cells_of(suite)
    by_title = {(cell.task, cell.title): cell for cell in cells}
    cell = by_title[0, "asr there dense s3prl seed 1"]
    assert rate_cells(suite, cell, cells) == [by_title[1, "asr there dense onepass seed 1"]]
    assert cells.index(cell) > cells.index(by_title[1, "asr there dense onepass seed 1"])
    # Other upstreams, other data, upstreams that one-pass cannot score, rates of the recipe's own.
    for place, title in (
        (0, "asr there half s3prl seed 1"),
        (0, "asr there fbank s3prl seed 1"),
        (3, "ks dense s3prl seed 1"),
    ):
        assert rate_cells(suite, by_title[place, title], cells) == []
    without = [c for c in cells if (c.engine, c.seed) != ("onepass", 1)]
    assert rate_cells(suite, cell, without) == [by_title[1, "asr there dense onepass seed 0"]]
    groups = {group.name: group for group in groups_of(suite, cells)}
    jobs = list(groups)
    assert groups["1.asr-there-dense-s3prl-seed-1"].depends_on == (
        "upstream-dense",
        "2.asr-dense-onepass",
    )
    assert jobs.index("2.asr-dense-onepass") < jobs.index("1.asr-there-dense-s3prl-seed-1")
    assert groups["4.ks-dense-s3prl-seed-1"].depends_on == ("upstream-dense",)


def test_only_one_pass_seeds_of_an_upstream_and_task_are_done_together() -> None:
    suite = Suite.model_validate(SUITE | {"tasks": [*SUITE["tasks"], *SUITE["tasks"]]})
    cells = cells_of(suite)
    batches = batches_of(cells)
    assert sorted(c.stem for b in batches for c in b) == sorted(c.stem for c in cells)
    several = [batch for batch in batches if len(batch) > 1]
    assert len(several) == 2 * 4
    for batch in several:
        assert [cell.seed for cell in batch] == [0, 1]
        assert {cell.engine for cell in batch} == {"onepass"}
        assert len({(cell.task, cell.upstream) for cell in batch}) == 1
    made: set[str] = set()
    for batch in batches:
        for cell in batch:
            assert made.issuperset(required_upstreams(suite, cell)), cell.title
            if cell.kind == "upstream":
                made.add(cell.upstream)
    chosen = select_cells(suite, cells, "ks half onepass seed 1")
    assert [cell.seed for cell in batches_of(chosen)[-1]] == [1]


def test_one_pass_cells_of_an_upstream_are_one_job(suite: Suite) -> None:
    cells = cells_of(suite)
    groups = groups_of(suite, cells)
    assert sorted(c.title for g in groups for c in g.cells) == sorted(c.title for c in cells)
    sizes = {group.name: len(group.cells) for group in groups}
    assert sizes["1.ks-quarter-onepass"] == 2
    assert sizes["1.ks-quarter-s3prl-seed-1"] == 1
    known: set[str] = set()
    for group in groups:
        assert known.issuperset(group.depends_on), group.name
        known.add(group.name)
    by_name = {group.name: group for group in groups}
    assert by_name["upstream-quarter"].depends_on == ("upstream-dense", "upstream-half")
    assert by_name["1.ks-other-onepass"].depends_on == ("upstream-other",)
    assert by_name["time-half"].measures_time
    alone = groups_of(suite, [cell for cell in cells if cell.kind == "time"])
    assert all(group.depends_on == () for group in alone)
