"""The weights of the hidden states in a report, in every format that has them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas
import pytest

from s3prl_compress.cli import app as cli
from s3prl_compress.report import report
from s3prl_compress.report.layer_weights import CAVEAT, EXPLANATION
from s3prl_compress.report.publish import write_report
from s3prl_compress.results.records import ScoreRecord

from ..support.made_up import score, upstream, write_all

DENSE = upstream("dense")
SMALL = upstream("small", 0.5, ("magnitude(sparsity=0.5)",))
BARE = upstream("bare", 0.2, ("layers(keep=0)",))


def some() -> list[ScoreRecord]:
    """Two seeds of dense, a small one of which one seed is of before the field, one of a state."""
    without: dict[str, Any] = {
        "settings": {"total_steps": 200_000, "first_state": 1},
        "recipe": "without",
        "layer_weights": (0.0, 0.25, 0.75),
    }
    return [
        score(DENSE, 96.0, seed=0, layer_weights=(0.5, 0.3, 0.2)),
        score(DENSE, 95.0, seed=1, layer_weights=(0.4, 0.5, 0.1)),
        score(SMALL, 94.0, seed=0),
        score(SMALL, 93.0, seed=1, layer_weights=(0.6, 0.2, 0.2)),
        score(BARE, 60.0, seed=0, layer_weights=(1.0,)),
        score(DENSE, 90.0, seed=0, **without),
        score(upstream("older", 0.4, ("clustering()",)), 89.0, seed=0),
    ]


def rows_of(text: str) -> list[list[str]]:
    """The table of weights in the markdown."""
    section = text.split("## Layer weights\n", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\| (.*) \|$", section, flags=re.MULTILINE)
    return [line.split(" | ") for line in lines]


def test_markdown_has_one_column_per_state(tmp_path: Path) -> None:
    write_all(tmp_path, some())
    report(tmp_path)
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    head, _, *rows = rows_of(text)
    assert head == ["task", "corpus, recipe", "upstream", "0", "1", "2"]
    place = "speech\\_commands, official"
    assert rows == [
        ["ks", place, "**dense**", "45.0", "40.0", "15.0"],
        ["ks", place, "small", "60.0", "20.0", "20.0"],
        ["ks", place, "bare", "100.0", "\N{EN DASH}", "\N{EN DASH}"],
        ["ks", "speech\\_commands, without", "dense", "\N{EN DASH}", "25.0", "75.0"],
    ]
    assert EXPLANATION in text
    assert CAVEAT in text
    assert "hidden states from 1 on" in text
    assert text.index("## Keyword spotting") < text.index("## Layer weights")


def test_the_page_has_the_same_table(tmp_path: Path) -> None:
    write_all(tmp_path, some())
    report(tmp_path)
    text = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    (table,) = re.findall(r'<h2 id="layer-weights">.*?</section>', text, flags=re.DOTALL)
    assert re.findall(r'<td class="key-state_0"[^>]*>([^<]*)</td>', table) == [
        "45.0",
        "60.0",
        "100.0",
        "\N{EN DASH}",
    ]
    assert EXPLANATION.split(";")[0] in table
    assert "Layer weights" not in (tmp_path / "leaderboard.tex").read_text(encoding="utf-8")


def test_csv_holds_the_full_figures(tmp_path: Path) -> None:
    write_all(tmp_path, some())
    report(tmp_path)
    frame = pandas.read_csv(tmp_path / "leaderboard.csv")
    usual = frame[frame["recipe"] == "official"].set_index("upstream")["layer_weights"]
    assert [float(part) for part in usual["dense"].split()] == pytest.approx([0.45, 0.4, 0.15])
    assert pandas.isna(usual["older"])
    assert frame.set_index("recipe")["first_state"]["without"] == 1


def test_json_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_all(tmp_path, some())
    assert cli.main(["report", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["files"]) == 4
    first = answer["layer_weights"][0]
    assert first.pop("layer_weights") == pytest.approx([0.45, 0.4, 0.15])
    assert first == {
        "task": "ks",
        "engine": "onepass",
        "padding": "independent",
        "recipe": "official",
        "corpus": "speech_commands",
        "upstream": "dense",
        "first_state": 0,
    }
    assert [row["first_state"] for row in answer["layer_weights"]] == [0, 0, 0, 1]


def test_a_large_model_has_25_columns(tmp_path: Path) -> None:
    weights = tuple(number / 300 for number in range(25))
    write_all(tmp_path, [score(DENSE, 96.0, layer_weights=weights)])
    report(tmp_path)
    head, _, row = rows_of((tmp_path / "leaderboard.md").read_text(encoding="utf-8"))
    assert head[3:] == [str(number) for number in range(25)]
    assert row[3:] == [f"{100 * weight:.1f}" for weight in weights]


def test_old_records_alone_have_no_such_block(tmp_path: Path) -> None:
    write_all(tmp_path, [score(DENSE, 96.0), score(SMALL, 94.0)])
    written = write_report(tmp_path)
    assert written.layer_weights == []
    for path in written.files:
        assert "layer weights" not in path.read_text(encoding="utf-8").lower()
