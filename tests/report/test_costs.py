from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.report.costs import (
    MACS,
    PARAMETERS,
    RELATIVE_TIME,
    TIME,
    drawable,
    pareto_front,
    with_fronts,
)
from s3prl_compress.report.rows import Entry, Speed

from ..support.made_up import entry


def _row(parameters: float | None, score: float | None, up: bool = True) -> Entry:
    return entry(parameters=parameters, score=score, higher_is_better=up)


points = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(points, st.booleans())
def test_the_front_is_what_no_row_beats(drawn: list[tuple[int, int]], up: bool) -> None:
    rows = [_row(cost, score, up) for cost, score in drawn]

    def beats(one: Entry, other: Entry) -> bool:
        sign = 1 if up else -1
        cheaper = (other.parameters or 0) - (one.parameters or 0)
        gains = (cheaper, sign * ((one.score or 0) - (other.score or 0)))
        return min(gains) >= 0 and max(gains) > 0

    unbeaten = [row for row in rows if not any(beats(other, row) for other in rows)]
    front = pareto_front(rows, PARAMETERS)
    assert {id(row) for row in front} == {id(row) for row in unbeaten}
    costs = [row.parameters or 0 for row in front]
    assert costs == sorted(costs)


def test_rows_without_cost_or_score_are_on_no_front() -> None:
    rows = [_row(1, 5), _row(None, 9), _row(2, None), _row(2, 4)]
    assert [row.front for row in with_fronts(rows)] == [("parameters",), (), (), ()]


def test_an_axis_needs_two_rows_and_paired_times_come_first() -> None:
    rows = [
        replace(_row(1, 5), speed=Speed(rtfx=20.0), macs_32=1),
        replace(_row(2, 6), speed=Speed(rtfx=10.0)),
    ]
    assert list(drawable(rows)) == [PARAMETERS, TIME]
    assert TIME.value(rows[0]) == 50
    rows = [replace(row, speed=replace(row.speed, relative_time=1.0)) for row in rows]
    assert list(drawable(rows)) == [PARAMETERS, RELATIVE_TIME]
    assert MACS not in drawable(rows)
