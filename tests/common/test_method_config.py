from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from s3prl_compress.common.errors import RenamedSettingWarning
from s3prl_compress.common.method_config import MethodConfig


class Base(MethodConfig):
    renamed: ClassVar[Mapping[str, str]] = {"clip": "max_norm"}

    max_norm: float = 1.0


class Derived(Base):
    renamed: ClassVar[Mapping[str, str]] = {"drop": "drop_prob"}

    drop_prob: float = 0.5
    rate: float = 0.1


def test_former_names_set_the_renamed_settings_and_warn() -> None:
    with pytest.warns(RenamedSettingWarning) as caught:
        config = Derived.model_validate({"clip": 2.0, "drop": 0.25, "rate": 0.2})
    assert (config.max_norm, config.drop_prob, config.rate) == (2.0, 0.25, 0.2)
    assert config.model_fields_set == {"max_norm", "drop_prob", "rate"}
    assert sorted(str(one.message).split(";")[0] for one in caught) == [
        "the setting clip is now called max_norm",
        "the setting drop is now called drop_prob",
    ]
    assert {one.filename for one in caught} == {__file__}
    assert set(config.recorded()) == {"max_norm", "drop_prob", "rate"}


def test_present_names_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = Derived(max_norm=2.0, drop_prob=0.25)
        assert Derived.model_validate(config) == config


@pytest.mark.parametrize("other", [2.0, 3.0])
def test_both_names_at_once_are_refused(other: float) -> None:
    with pytest.raises(ValidationError, match="clip is the former name of max_norm: give max_norm"):
        Derived.model_validate({"clip": 2.0, "max_norm": other})


def test_a_former_name_belongs_to_the_class_that_renamed_it() -> None:
    with pytest.raises(ValidationError, match="drop\n"):
        Base.model_validate({"drop": 0.25})


def test_a_subclass_may_declare_a_former_name_as_its_own() -> None:
    class Own(Base):
        clip: int = 3

    assert Own.former_names() == {}
    assert Own(clip=4).max_norm == 1.0


def test_recorded_settings_are_translated_both_ways() -> None:
    recorded: dict[str, Any] = {"clip": 2.0, "audio": "speech", "drop": 0.25}
    present = Derived.with_present_names(recorded)
    assert present == {"max_norm": 2.0, "audio": "speech", "drop_prob": 0.25}
    assert Derived.with_former_names(present) == recorded


def test_a_script_of_the_user_sees_the_warning() -> None:
    code = (
        "from s3prl_compress.methods import check_settings\n"
        "check_settings('structured', {'audio': '.', 'ramp': 0.2})\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "RenamedSettingWarning: the setting ramp is now called" in result.stderr
