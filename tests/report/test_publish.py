from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas
import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.report import report

from ..support.made_up import a_board, score, timing, upstream, write_all


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    write_all(folder, a_board())
    paths = report(folder)
    names = ["leaderboard.md", "leaderboard.csv", "leaderboard.tex", "leaderboard.html"]
    assert [path.name for path in paths] == names
    return folder


def test_no_records_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="s3prl-compress score"):
        report(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        report(tmp_path / "nowhere")


def test_a_broken_record_leaves_no_report(tmp_path: Path) -> None:
    write_all(tmp_path, [score(upstream("fine"), 90.0)])
    (tmp_path / "torn.json").write_text("{")
    with pytest.raises(InputError, match=r"torn\.json"):
        report(tmp_path)
    assert not (tmp_path / "leaderboard.md").exists()


def test_output_goes_where_it_is_sent(tmp_path: Path) -> None:
    write_all(tmp_path / "in", [score(upstream("fine"), 90.0)])
    paths = report(str(tmp_path / "in"), tmp_path / "out" / "deep")
    assert {path.parent for path in paths} == {tmp_path / "out" / "deep"}
    assert all(path.is_file() for path in paths)
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == ["record-000.json"]


def test_markdown_has_a_table_per_block_and_its_origin(board: Path) -> None:
    text = (board / "leaderboard.md").read_text(encoding="utf-8")
    assert "## Keyword spotting: onepass engine, independent padding" in text
    assert "## Keyword spotting: s3prl engine, fairseq padding" in text
    assert "94.37 M" in text
    assert "2.05\N{MULTIPLICATION SIGN} | 2.01 to 2.11" in text
    for origin in ("A processor, 2 cores", "2026-02-03", "torch 2.13.0", "0123456789ab"):
        assert origin in text
    assert "`s3prl-compress score MODEL --task ks`" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_csv_reads_back_with_full_precision(board: Path) -> None:
    frame = pandas.read_csv(board / "leaderboard.csv")
    assert len(frame) == 7 + 2
    dense = frame[(frame["engine"] == "onepass") & frame["reference"]].iloc[0]
    assert dense["parameters"] == 94_371_712
    assert dense["rtfx"] == pytest.approx(20)
    for column in ("machine", "date", "packages", "command", "git_commit", "checkpoint_sha256"):
        assert frame[column].notna().all()


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action") and value:
                self.found.append(value)
            if name == "id" and value:
                self.ids.append(value)


def test_the_page_needs_nothing_but_itself(board: Path) -> None:
    text = (board / "leaderboard.html").read_text(encoding="utf-8")
    page = _References()
    page.feed(text)
    assert [reference for reference in page.found if reference[0] != "#"] == ["data:,"]
    assert {f"#{name}" for name in page.ids} >= {r for r in page.found if r[0] == "#"}
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"https?://|@import|//cdn", text)
    assert "default-src 'none'" in text
    # Two blocks against two counts and one time each, and the published rows against two counts.
    assert text.count("<svg role=") == 6 + 2
    assert "var(--series-1)" in text


def test_the_page_shows_rows_points_and_origins(board: Path) -> None:
    text = (board / "leaderboard.html").read_text(encoding="utf-8")
    assert text.count('<table class="sortable') == 4
    assert "1.07 to 1.12" in text
    assert 'id="plot-1-parameters-point-1"' in text
    assert "hubert_base\ndense\naccuracy 96." in text
    assert "onepass engine, independent padding, recipe official\n2026-02-03, A processor" in text
    assert "<code>s3prl-compress time A --against B</code>" in text


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = upstream("<script>alert(1)</script>|$x^2$", 0.5, ("<b>bold</b> & `more`",))
    dense = upstream('quo"ted')
    write_all(tmp_path, [score(evil, 80.0), score(dense, 90.0), timing(evil, dense)])
    report(tmp_path)
    page = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<b>bold" not in page
    assert "&lt;script&gt;alert(<wbr>1)&lt;/script&gt;|$x^2$" in page
    tex = (tmp_path / "leaderboard.tex").read_text(encoding="utf-8")
    assert r"\textless{}script\textgreater{}alert(1)" in tex
    assert r"\textbar{}\$x\textasciicircum{}2\$" in tex
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert r"\<script\>alert(1)\</script\>\|$x^2$" in text


def test_times_alone_make_a_report(tmp_path: Path) -> None:
    write_all(tmp_path, [timing(upstream("small", 0.5), upstream("dense"), 1.75)])
    report(tmp_path)
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "## Speed" in text
    assert "1.75\N{MULTIPLICATION SIGN}" in text
    frame = pandas.read_csv(tmp_path / "leaderboard.csv")
    assert frame["speedup"].tolist() == [1.75]
    assert '<table class="sortable' in (tmp_path / "leaderboard.html").read_text(encoding="utf-8")


def test_scores_without_costs_or_times_make_a_report(tmp_path: Path) -> None:
    write_all(tmp_path, [score(upstream("bare", cost=None), 50.0)])
    report(tmp_path)
    page = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert "RTFx" not in page
    assert 'id="plot-1-' not in page


def test_published_rows_stand_alone_and_only_beside_scores(board: Path, tmp_path: Path) -> None:
    text = (board / "leaderboard.md").read_text(encoding="utf-8")
    ours, published = text.split("## Published rows: not run here")
    assert "DPHuBERT" not in ours
    assert "DPHuBERT 960h" in published
    assert "arXiv 2305.17651 table 1" in published
    assert "DPHuBERT" not in (board / "leaderboard.csv").read_text(encoding="utf-8")
    write_all(tmp_path, [timing(upstream("small", 0.5), upstream("dense"))])
    report(tmp_path)
    assert "DPHuBERT" not in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "values", [{"recipe": "smoke"}, {"variant": "digits"}, {"recipe": "mine", "task": "sid"}]
)
def test_what_is_not_comparable_says_so_on_every_page(
    tmp_path: Path, values: dict[str, str]
) -> None:
    write_all(tmp_path, [score(upstream("small"), 50.0, **values)])
    for path in report(tmp_path):
        if path.suffix != ".csv":
            text = path.read_text(encoding="utf-8")
            assert "These scores are not comparable with published scores" in text


def test_comparable_scores_carry_no_warning(board: Path) -> None:
    for name in ("leaderboard.md", "leaderboard.html", "leaderboard.tex"):
        assert "not comparable" not in (board / name).read_text(encoding="utf-8")
