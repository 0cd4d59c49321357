from __future__ import annotations

import pytest

from s3prl_compress.report.rows import Entry
from s3prl_compress.report.series import DENSE, PEER, look, method_of, series_of

from ..support.made_up import entry


def _row(methods: str) -> Entry:
    return entry(methods=methods, reference=not methods)


@pytest.mark.parametrize(
    ("methods", "name"),
    [
        ("", "dense"),
        ("low_rank(a=1)", "low_rank"),
        ("magnitude(x=a + b) + clustering(form=fold)", "magnitude + clustering"),
    ],
)
def test_methods_without_their_settings(methods: str, name: str) -> None:
    assert method_of(_row(methods)) == name


def test_every_method_has_a_look_of_its_own_and_dense_the_first() -> None:
    looks = series_of([_row("b(x=1)"), _row(""), _row("a(x=2)"), _row("b(x=3)")])
    assert looks == {"dense": DENSE, "a": look(0), "b": look(1)}


def test_somebody_elses_model_is_neither_dense_nor_a_method() -> None:
    looks = series_of([_row("a(x=1)"), entry()])
    assert looks == {"no method": PEER, "a": look(0)}


def test_many_methods_never_look_the_same() -> None:
    assert len({look(number) for number in range(36)} | {DENSE, PEER}) == 38
