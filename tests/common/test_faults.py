from __future__ import annotations

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.faults import Faults


def test_faults_become_one_line_with_counts_and_three_examples() -> None:
    faults = Faults()
    for name in "abcd":
        faults.add("empty file", name)
    faults.add("strange label", "two\nlines", count=7)
    with pytest.raises(InputError) as caught:
        faults.raise_if_any("corpus", "fix it")
    expected = "corpus: empty file: 4 (a, b, c, ...); strange label: 7 (two lines); fix it"
    assert str(caught.value) == expected


def test_no_faults_raise_nothing() -> None:
    faults = Faults()
    faults.raise_if_any("corpus", "fix it")
    assert not faults
