from __future__ import annotations

from pathlib import Path

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.yaml_files import find_packaged, parse, read_text


def test_who_changes_what_was_parsed_changes_nothing_for_the_next() -> None:
    text = "engines: {onepass: {rates: [0.1]}}"
    parse(text, "one.yaml")["engines"]["onepass"]["rates"].append(1.0)
    assert parse(text, "two.yaml") == {"engines": {"onepass": {"rates": [0.1]}}}


def test_a_mistake_names_the_file_that_is_read_now() -> None:
    for name in ("one.yaml", "two.yaml"):
        with pytest.raises(InputError, match=f"^{name}: not YAML"):
            parse("a: [", name)


@pytest.mark.parametrize(
    "text",
    [
        "a: 2020-99-99",
        "a: !!int x",
        "a: !!timestamp x",
        "a: !!bool x",
        "a: !!int ''",
        f"a: {'9' * 10_000}",
        f"a: 0x{'f' * 10_000}",
        "a: {[1]: 2}",
        "a: !!python/object/apply:os.system [true]",
        "a: &a [*a]",
        "[" * 10_000 + "]" * 10_000,
        "[" * 60 + "]" * 60,
    ],
)
def test_hostile_yaml_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"^one\.yaml: (not YAML|nested too deeply)") as caught:
        parse(text, "one.yaml")
    assert "\n" not in str(caught.value)


def test_a_few_lines_that_stand_for_billions_of_values_are_refused() -> None:
    lines = ["a: &a [x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(InputError, match=r"one\.yaml: not YAML \(above 100000 values"):
        parse("\n".join(lines), "one.yaml")
    assert parse("\n".join(lines[:3]), "one.yaml")["c"][8][8] == ["x", "x"]


def test_names_that_cannot_be_those_of_files_are_one_line() -> None:
    with pytest.raises(InputError, match="no such file"):
        find_packaged("x" * 5_000, "suite")
    for name in ("x" * 5_000, "a\0b"):
        with pytest.raises(InputError, match="cannot be read"):
            read_text(Path(name))


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"my\.yaml: .*key 'steps' is there twice.* line 3"):
        parse("method: ctc\nsteps: 1\nsteps: 2\n", "my.yaml")


def test_merged_keys_may_be_given_again() -> None:
    text = "base: &b {y: 1}\na: {s: &x {<<: *b, y: 2}}\nb: {<<: *x, y: 5}\n"
    assert parse(text, "f") == {"base": {"y": 1}, "a": {"s": {"y": 2}}, "b": {"y": 5}}
