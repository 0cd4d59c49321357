from __future__ import annotations

import pytest

from s3prl_compress.common.json_text import parse_json


def test_whatever_is_wrong_is_a_value_error() -> None:
    assert parse_json('{"a": [1]}') == {"a": [1]}
    for text, words in (
        ("[", "Expecting value"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("9" * 10_000, "digits"),
    ):
        with pytest.raises(ValueError, match=words):
            parse_json(text)
