from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.report.scales import Scale, cost_scale, score_scale

values = st.lists(st.floats(0.001, 1e12), min_size=1, max_size=8)


@given(values)
def test_all_costs_and_ticks_lie_on_the_axis(costs: list[float]) -> None:
    scale = cost_scale(costs, 40.0, 390.0)
    for value in [*costs, *scale.ticks()]:
        assert 40 - 1e-6 <= scale.place(value) <= 390 + 1e-6
    assert len(scale.ticks()) >= 1
    assert scale.low >= 0


@given(st.floats(-100, 100), st.floats(0.001, 1000))
def test_linear_ticks_are_a_handful(low: float, width: float) -> None:
    ticks = Scale(low, low + width, 0, 1).ticks()
    assert 2 <= len(ticks) <= 7


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 100, 0, 1), [0, 20, 40, 60, 80, 100]),
        (Scale(93.1, 94.9, 0, 1), [93.5, 94, 94.5]),
        (Scale(1e6, 1e8, 0, 1, logarithmic=True), [1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8]),
        (Scale(1e3, 1e9, 0, 1, logarithmic=True), [10.0**n for n in range(3, 10)]),
    ],
)
def test_ticks_are_round(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks() == pytest.approx(ticks)


def test_axes_grow_the_way_they_are_told() -> None:
    upright = score_scale([90.0], [96.0], 250.0, 10.0)
    turned = score_scale([5.0], [9.0], 10.0, 250.0)
    assert upright.place(96.0) < upright.place(90.0)
    assert turned.place(5.0) < turned.place(9.0)
