from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import rc_context

from s3prl_compress.report.formats import short_methods
from s3prl_compress.report.leaderboard import leaderboard
from s3prl_compress.report.plot import HEIGHT, WIDTH, cost_plots
from s3prl_compress.report.rows import Row
from s3prl_compress.report.series import series_of
from s3prl_compress.report.task_table import score_tables

from ..support.made_up import a_board, entry, score, upstream


def _rows(board: list[Row]) -> list[Row]:
    return score_tables(board)[0].rows


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return _rows(leaderboard(a_board()))


def test_every_row_is_a_point_of_every_plot(rows: list[Row]) -> None:
    plots = cost_plots(rows, series_of(rows), "plot-1")
    assert [plot.cost for plot in plots] == ["parameters", "macs_32", "time"]
    for plot in plots:
        drawing = ElementTree.fromstring(plot.svg)
        points = [part for part in drawing.iter("g") if "point" in part.get("class", "")]
        assert {part.get("data-row") for part in points} == {str(row.row) for row in rows}
        assert next(part.get("id") for part in points) == f"plot-1-{plot.cost}-point-1"
        titles = [part.findtext("title") for part in points]
        assert all(row.upstream in str(title) for row, title in zip(rows, titles, strict=True))
        assert all({"data-row", "data-upstream", "tabindex"} <= set(part.attrib) for part in points)
        assert all(part.find("path[@class='marker']") is not None for part in points)


def test_plots_of_a_page_share_no_id_and_have_no_style_of_their_own(rows: list[Row]) -> None:
    svgs = [
        plot.svg
        for prefix in ("plot-1", "plot-2")
        for plot in cost_plots(rows, series_of(rows), prefix)
    ]
    ids = re.findall(r' id="([^"]*)"', "".join(svgs))
    assert len(ids) == len(set(ids)) == len(svgs) * len(rows)
    assert not any(re.search(r"style=|font|xmlns|<defs|<metadata", svg) for svg in svgs)


def test_the_same_rows_are_drawn_alike_whatever_matplotlib_is_set_to(rows: list[Row]) -> None:
    plots = cost_plots(rows, series_of(rows), "p")
    with rc_context({"savefig.bbox": "tight", "font.size": 30, "axes.grid": True}):
        assert cost_plots(rows, series_of(rows), "p") == plots


def test_names_are_escaped_and_may_lack_a_glyph(recwarn: pytest.WarningsRecorder) -> None:
    name = '<b>$x_1$ & "\u6f22"'
    rows = _rows(leaderboard([score(upstream(name), 96.0), score(upstream("other", 0.5), 90.0)]))
    for plot in cost_plots(rows, series_of(rows), "p"):
        assert name in [text.text for text in ElementTree.fromstring(plot.svg).iter("text")]
    assert not recwarn.list


costs = st.lists(st.floats(0.01, 1e12), min_size=2, max_size=6)


@settings(max_examples=25, deadline=None)
@given(costs, st.floats(-1000, 100), st.floats(0, 1000), st.booleans())
def test_everything_lies_within_the_drawing(
    parameters: list[float], low: float, width: float, up: bool
) -> None:
    rows = [
        entry(
            row=number,
            upstream=f"u{number}",
            parameters=cost,
            score=low + width * number,
            standard_error=width / 2,
            higher_is_better=up,
        )
        for number, cost in enumerate(parameters, start=1)
    ]
    (plot,) = cost_plots(rows, series_of(rows), "p")
    drawing = ElementTree.fromstring(plot.svg)
    found = Counter(part.get("class") for part in drawing.iter())
    assert found["marker"] == found["label"] == len(rows)
    assert 2 <= found["grid"] == found["tick left"] <= 8
    assert 1 <= found["tick"] <= 14
    # The outline of a marker, which is moved to its place, is not in the drawing's coordinates.
    spots = [part.get("transform") or part.get("d", "") for part in drawing.iter("path")]
    for place in re.findall(r"(?:[ML]|translate\()(-?[\d.]+) (-?[\d.]+)", " ".join(spots)):
        assert 0 <= float(place[0]) <= WIDTH
        assert 0 <= float(place[1]) <= HEIGHT


def _heights(rows: list[Row]) -> dict[str, float]:
    svg = cost_plots(rows, series_of(rows), "p")[0].svg
    points = re.findall(r'data-row="(\d+)" [^>]*tabindex.*?translate\([\d.]+ ([\d.]+)\)', svg, re.S)
    names = {str(row.row): row.upstream for row in rows}
    return {names[number]: float(height) for number, height in points}


def test_better_is_further_up_of_errors_too() -> None:
    dense, small = upstream("dense"), upstream("small", 0.5, ("low_rank(keep=0.5)",))
    heights = _heights(_rows(leaderboard([score(dense, 96.0), score(small, 90.0)])))
    assert heights["dense"] < heights["small"]
    errors = {"higher_is_better": False, "metric": "WER (percent)"}
    heights = _heights(
        _rows(leaderboard([score(dense, 6.0, **errors), score(small, 9.0, **errors)]))
    )
    assert heights["dense"] < heights["small"]


def test_too_many_names_become_numbers() -> None:
    records = [
        score(
            upstream(f"a-name-that-takes-room-{'x' * n}", 0.5 + n / 1000, ("m(a=1)",)), 90 + n / 50
        )
        for n in range(30)
    ]
    rows = _rows(leaderboard(records))
    assert all(plot.numbered for plot in cost_plots(rows, series_of(rows), "p"))


def test_long_chains_keep_each_methods_first_settings() -> None:
    chain = (
        "magnitude(structure=channel, sparsity=0.4, linears=['q', 'k'], seed=0) + "
        "low_rank(sparsity=0.1)"
    )
    shortened = "magnitude(structure=channel, sparsity=0.4, \N{HORIZONTAL ELLIPSIS})"
    assert short_methods(chain) == f"{shortened} + low_rank(sparsity=0.1)"
    assert short_methods("low_rank(a=1, b=2, c=3)") == "low_rank(a=1, b=2, c=3)"
    learned = (
        "structured(audio=speech (sha256 0123456789abcdef), steps=120, units=['qk', 'vo'], "
        "sparsity=0.5) + distill(teacher=small (hubert, 6 x 256, seed 0) (sha256 01234567), "
        "steps=9)"
    )
    assert short_methods(learned) == (
        "structured(steps=120, sparsity=0.5, \N{HORIZONTAL ELLIPSIS}) + "
        "distill(steps=9, \N{HORIZONTAL ELLIPSIS})"
    )
