from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.report.costs import (
    MACS,
    PARAMETERS,
    RELATIVE_TIME,
    TIME,
    attach_fronts,
    drawable,
    pareto_front,
)


def _row(parameters: float | None, score: float | None, up: bool = True) -> dict[str, Any]:
    return {
        "parameters": parameters,
        "score": score,
        "higher_is_better": up,
        "macs_32": None,
        "rtfx": None,
        "relative_time": None,
    }


points = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(points, st.booleans())
def test_the_front_is_what_no_row_beats(drawn: list[tuple[int, int]], up: bool) -> None:
    rows = [_row(cost, score, up) for cost, score in drawn]

    def beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
        sign = 1 if up else -1
        gains = (other["parameters"] - one["parameters"], sign * (one["score"] - other["score"]))
        return min(gains) >= 0 and max(gains) > 0

    unbeaten = [row for row in rows if not any(beats(other, row) for other in rows)]
    front = pareto_front(rows, PARAMETERS)
    assert {id(row) for row in front} == {id(row) for row in unbeaten}
    assert [row["parameters"] for row in front] == sorted(row["parameters"] for row in front)


def test_rows_without_cost_or_score_are_on_no_front() -> None:
    rows = [_row(1, 5), _row(None, 9), _row(2, None), _row(2, 4)]
    attach_fronts(rows)
    assert [row["front"] for row in rows] == [("parameters",), (), (), ()]


def test_an_axis_needs_two_rows_and_paired_times_come_first() -> None:
    rows = [_row(1, 5) | {"rtfx": 20.0, "macs_32": 1}, _row(2, 6) | {"rtfx": 10.0}]
    assert list(drawable(rows)) == [PARAMETERS, TIME]
    assert TIME.value(rows[0]) == 50
    for row in rows:
        row["relative_time"] = 1.0
    assert list(drawable(rows)) == [PARAMETERS, RELATIVE_TIME]
    assert MACS not in drawable(rows)
