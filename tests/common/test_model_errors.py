from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from s3prl_compress.common.model_errors import first_mistake


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: float = Field(lt=1)
    kind: Literal["a", "b"] = "a"
    parts: tuple[Part, ...] = ()

    @field_validator("rate")
    @classmethod
    def _not_a_third(cls, rate: float) -> float:
        if rate == 1 / 3:
            raise ValueError("a third\nis not allowed")
        return rate


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "rate: must be given"),
        ({"rat": 0.5}, "rat: no such entry; there are x"),
        ({"rate": 2}, "rate: must be less than 1; got 2"),
        ({"rate": 1 / 3}, "rate: a third is not allowed"),
        ({"rate": 0, "kind": "c"}, "kind: must be 'a' or 'b'; got 'c'"),
        ({"rate": ["long"] * 30}, "rate: must be a valid number"),
        ({"rate": 0, "parts": 3}, "parts: must be a list"),
        ({"rate": 0, "parts": [3]}, "parts.0: must hold `key: value` lines"),
        ({"rate": 0, "parts": [{"name": "x", "no": 1}]}, "parts.0.no: no such entry; there are x"),
        (3, "must hold `key: value` lines"),
    ],
)
def test_the_first_mistake_is_one_line(data: object, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(data)
    assert first_mistake(caught.value, lambda location: ["x"], noun="entry") == message


def test_without_known_names_none_are_listed() -> None:
    with pytest.raises(ValidationError) as caught:
        Part.model_validate({"name": "x", "size": 1})
    assert first_mistake(caught.value) == "size: no such key"


def test_another_value_error_is_put_on_one_line() -> None:
    assert first_mistake(ValueError("one\n  two")) == "one two"
