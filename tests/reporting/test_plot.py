from __future__ import annotations

import pytest

from s3prl_compress.reporting.formats import short_methods
from s3prl_compress.reporting.plot import _without_common_start, look, method_of, series_of


def _row(number: int, name: str, methods: str, reference: bool = False) -> dict[str, object]:
    return {"row": number, "upstream": name, "methods": methods, "reference": reference}


def test_long_chains_keep_each_methods_first_settings() -> None:
    chain = (
        "magnitude(structure=channel, sparsity=0.4, linears=['q', 'k'], seed=0) + "
        "low_rank(sparsity=0.1)"
    )
    shortened = "magnitude(structure=channel, sparsity=0.4, \N{HORIZONTAL ELLIPSIS})"
    assert short_methods(chain) == f"{shortened} + low_rank(sparsity=0.1)"
    assert short_methods("low_rank(a=1, b=2, c=3)") == "low_rank(a=1, b=2, c=3)"


@pytest.mark.parametrize(
    ("methods", "name"),
    [
        ("", "dense"),
        ("low_rank(a=1)", "low_rank"),
        ("magnitude(x=a + b) + clustering(form=fold)", "magnitude + clustering"),
    ],
)
def test_methods_without_their_settings(methods: str, name: str) -> None:
    assert method_of(_row(1, "x", methods)) == name


def test_every_method_has_a_colour_and_dense_none() -> None:
    rows = [_row(n, "x", method) for n, method in enumerate(("b(x=1)", "", "a(x=2)", "b(x=3)"))]
    assert series_of(rows) == {"a": 0, "b": 1}


def test_many_methods_never_look_the_same() -> None:
    assert len({look(number) for number in range(36)}) == 36
    assert look(0) == (0, 0)


def test_names_lose_what_they_share_but_never_become_numbers() -> None:
    rows = [_row(1, "base", "", True), _row(2, "base-fold-10", "m"), _row(3, "base-share-25", "m")]
    assert _without_common_start(rows) == {1: "base", 2: "fold-10", 3: "share-25"}
    rows = [_row(1, "base-fold-10", "m"), _row(2, "base-fold-20", "m")]
    assert _without_common_start(rows) == {1: "fold-10", 2: "fold-20"}
    assert _without_common_start([]) == {}
