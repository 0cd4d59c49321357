"""A plain function as a command: values, spellings, help and output."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from s3prl_compress.cli.console import run_command
from s3prl_compress.cli.program import Command
from s3prl_compress.common.command_result import CommandResult


def paint(
    place: str,
    colour: Literal["red", "blue"] | None = None,
    *,
    layers_of_paint: int = 1,
    brush: str | None = None,
    width: float = 0.5,
    dry_run: bool = False,
    glossy: bool | None = None,
    **settings: str,
) -> CommandResult:
    """Paint a place.

    Two coats are
    better than one.

    Args:
        place: what to paint: a wall,
            or 100 % of a house
        layers_of_paint: number of coats
    """
    print("noise")
    return CommandResult({**locals()}, "painted", ("next: let it dry",), exit_code=3)


def brushes(*, brush: str | None = None) -> dict[str, str | None]:
    return {"hair_length": "length of the hair", "old_name": None} if brush == "round" else {}


COMMANDS = {
    "paint": Command(paint, ("paint wall --dry-run", "paint house red"), further_options=brushes)
}


def values(capsys: pytest.CaptureFixture[str], line: str) -> dict[str, Any]:
    assert run_command(COMMANDS, ["paint", *line.split(), "--json"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert isinstance(data, dict)
    return data


def test_omitted_options_have_the_defaults_of_the_signature(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert values(capsys, "wall") == {
        "place": "wall",
        "colour": None,
        "layers_of_paint": 1,
        "brush": None,
        "width": 0.5,
        "dry_run": False,
        "glossy": None,
        "settings": {},
    }


@pytest.mark.parametrize("text", ["yes", "true", "no", "false"])
def test_values_have_the_types_of_the_signature(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    data = values(capsys, f"wall blue --layers-of-paint=2 --width 1e-1 --dry-run --glossy {text}")
    assert data["colour"] == "blue"
    assert data["layers_of_paint"] == 2
    assert data["width"] == 0.1
    assert data["dry_run"] is True
    assert data["glossy"] is (text in ("yes", "true"))


def test_underscores_do_as_well_as_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    line = "wall --dry{0}run --layers{0}of{0}paint 3 --brush=round --hair{0}length a_b-c"
    assert values(capsys, line.format("-")) == values(capsys, line.format("_"))


def test_further_options_depend_on_others(capsys: pytest.CaptureFixture[str]) -> None:
    data = values(capsys, "--old-name 2 wall --brush round --hair-length 1")
    assert data["settings"] == {"hair_length": "1", "old_name": "2"}
    assert values(capsys, "wall --brush round")["settings"] == {}
    assert run_command(COMMANDS, ["paint", "wall", "--hair-length", "1"]) == 2
    assert "no option --hair-length; there are --layers-of-paint" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(COMMANDS, ["paint", "--help", "--brush", "round"]) == 0
    out = capsys.readouterr().out
    assert "Usage: s3prl-compress paint [OPTIONS] PLACE [red|blue]\n" in out
    assert "\n  Two coats are better than one.\n" in out
    assert "  what to paint: a wall, or 100 % of a house\n" in out
    assert "number of coats  [default: 1]" in out
    assert "--glossy [yes|no]" in out
    assert "--hair-length VALUE" in out
    assert "--old-name" not in out
    assert "Args:" not in out
    assert "  Examples:\n    s3prl-compress paint wall --dry-run\n" in out


def test_standard_output_is_for_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(COMMANDS, ["paint", "wall"]) == 3
    captured = capsys.readouterr()
    assert captured.out == "painted\nnext: let it dry\n"
    assert captured.err == "noise\n"
