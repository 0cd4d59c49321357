from __future__ import annotations

import re
from pathlib import Path

import pytest

from s3prl_compress.report import report
from s3prl_compress.report.latex import escape

from ..support.made_up import a_suite


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("suite")
    a_suite(folder)
    report(folder)
    return (folder / "leaderboard.tex").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("50 % & more_of #1", r"50 \% \& more\_of \#1"),
        (r"a\b{c}", r"a\textbackslash{}b\{c\}"),
        ("\N{MINUS SIGN}1.2 \N{PLUS-MINUS SIGN} 0.3", r"$-$1.2 $\pm$ 0.3"),
        ("x^2~$y$", r"x\textasciicircum{}2\textasciitilde{}\$y\$"),
        ("Bär \N{SNOWMAN}", "Bär ?"),
    ],
)
def test_special_characters_print_as_they_are(given: str, written: str) -> None:
    assert escape(given) == written


def test_tables_are_whole_and_their_lines_equally_long(text: str) -> None:
    tables = re.findall(r"\\begin{table}.*?\\end{table}", text, re.S)
    assert len(tables) == 1 + 4 + 1 + 1  # all tasks, each task, speed, published
    for table in tables:
        layout = re.search(r"\\begin{tabular}{([lr]+)}", table)
        assert layout is not None
        body = table.split(r"\toprule")[1].split(r"\bottomrule")[0]
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(layout.group(1))}
        assert r"\caption{" in table
        assert r"\label{tab:" in table
    labels = re.findall(r"\\label{(.*?)}", text)
    assert len(labels) == len(set(labels))


def test_braces_and_dollars_are_paired(text: str) -> None:
    bare = re.sub(r"\\[{}$%&#_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert all(ord(character) < 128 for character in bare)


def test_what_is_significant_is_bold(text: str) -> None:
    line = next(line for line in text.splitlines() if line.strip().startswith("channels &"))
    assert r"\textbf{" in line
    dense = next(line for line in text.splitlines() if line.strip().startswith("dense &"))
    assert r"\textbf{" not in dense
