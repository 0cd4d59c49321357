from __future__ import annotations

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.validation import check_threads


def test_numbers_of_threads_at_which_torch_would_abort_are_refused() -> None:
    assert [check_threads(number) for number in (None, 1, 1024)] == [None, 1, 1024]
    for number in (-1, 0, 1025, 2**31 - 1):
        with pytest.raises(InputError, match=f"threads {number}: must be from 1 to 1024"):
            check_threads(number)
