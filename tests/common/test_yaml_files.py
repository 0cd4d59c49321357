from __future__ import annotations

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.yaml_files import parse


def test_who_changes_what_was_parsed_changes_nothing_for_the_next() -> None:
    text = "engines: {onepass: {rates: [0.1]}}"
    parse(text, "one.yaml")["engines"]["onepass"]["rates"].append(1.0)
    assert parse(text, "two.yaml") == {"engines": {"onepass": {"rates": [0.1]}}}


def test_a_mistake_names_the_file_that_is_read_now() -> None:
    for name in ("one.yaml", "two.yaml"):
        with pytest.raises(InputError, match=f"^{name}: not YAML"):
            parse("a: [", name)
