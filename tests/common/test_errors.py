from __future__ import annotations

from s3prl_compress.common.errors import InputError


def test_a_message_is_one_line_whatever_it_repeats() -> None:
    error = InputError("suite.yaml: a\nb\u2028c\r\nd: no such key")
    assert str(error) == "suite.yaml: a b c d: no such key"
