from __future__ import annotations

import pytest

from s3prl_compress.report import formats


@pytest.mark.parametrize(
    ("number", "text"),
    [(94_371_712, "94.37 M"), (315_438_720, "315.4 M"), (1500, "1.500 k"), (7, "7"), (0, "0")],
)
def test_counts(number: int, text: str) -> None:
    assert formats.count(number) == text


def test_what_people_read() -> None:
    assert formats.giga(1_665.5e9) == "1666 G"
    assert formats.giga(12e6) == "0.01200 G"
    assert formats.megabytes(377_486_848) == "377.5 MB"
    assert formats.learning_rate(0.001) == "1e-3"
    assert formats.learning_rate(0.00025) == "2.5e-4"
    assert formats.learning_rate(10.0) == "1e1"
    assert formats.percent(0.254) == "25 %"
    assert formats.percent(0.0123) == "1.2 %"
    assert formats.signed(-1.25, 1) == "\N{MINUS SIGN}1.2"
    assert formats.signed(0.3, 1) == "+0.3"
    assert formats.signed(-0.001, 1) == "0.0"
    assert formats.decimals_for([2.5, 0.7]) == 1
    assert formats.decimals_for([0.1, 0.7]) == 2
