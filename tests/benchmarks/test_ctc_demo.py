"""The tables of recognition before and after compression."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import jiwer
import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder
from s3prl_compress.evaluation import score
from s3prl_compress.methods import compress
from s3prl_compress.suite.suite_file import read_suite
from s3prl_compress.training.ctc import add_head

from ..support.letters import write_letters

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("ctc_demo")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("records")
    write_letters(root / "letters")
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"]).eval()
    add_head(encoder, ["ab cd"], seed=0)
    rows = {"hubert_demo_ctc": encoder}
    for name, method in (("fold50", "clustering"), ("channels50", "magnitude")):
        rows[name] = compress(encoder, method, sparsity=0.2)
    for name, row in rows.items():
        score(row, "ctc", data=root / "letters", output=root / "results", name=name)
    return root / "results"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hubert_demo_ctc", ("dense", 0, False, None, 0)),
        ("hubert_demo_ctc.ctc.1", ("dense", 0, True, None, 1)),
        ("fold5", ("fold", 5, False, None, 0)),
        ("rank50.audio.ctc.1", ("rank.audio", 50, True, None, 1)),
        ("fold50.ctc.80", ("fold", 50, True, 80, 0)),
        ("pinch70.weight.1", ("pinch.weight", 70, False, None, 1)),
        ("channels50.distill.1.ctc", ("channels.distill", 50, True, None, 1)),
    ],
)
def test_names_are_taken_apart(demo: Any, name: str, expected: tuple[Any, ...]) -> None:
    assert tuple(vars(demo.Name.of(name)).values()) == expected


def test_every_row_of_the_suite_is_known_and_pairs_exist_in_both_seeds(
    demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECH_DATA", str(tmp_path))
    (tmp_path / "unlabelled_minilibri").mkdir()
    (tmp_path / "asr_minilibri_large").mkdir()
    names = {entry.name for entry in read_suite(demo.SUITE).upstreams}
    for name in names:
        assert demo.Name.of(name).method in {*demo.TITLES, "dense"}
    for this, other in demo.PAIRS:
        sizes = [size for size in range(100) if {this.format(size), other.format(size)} <= names]
        assert sizes, this
        trained = ".ctc" in this or this.startswith("pinch")
        if trained and not this.endswith(("80", "1530")):
            assert {demo.with_second_seed(this.format(size)) for size in sizes} <= names


def test_the_tables_hold_what_was_recognised(demo: Any, records: Path, tmp_path: Path) -> None:
    recorded, rows = demo.read_rows(records)
    frame = demo.table(recorded, rows).set_index("upstream")
    for name, own in rows.items():
        (texts,) = own.predicted.values()
        expected = 100 * jiwer.cer(list(own.truth), list(texts))
        assert frame.loc[name, "cer"] == pytest.approx(expected)
        assert frame.loc[name, "wer"] == pytest.approx(recorded[name].score)
        assert frame.loc[name, "difference"] == pytest.approx(
            frame.loc[name, "cer"] - frame.loc["hubert_demo_ctc", "cer"]
        )
    assert frame["p_corrected"].notna().tolist() == [
        name != "hubert_demo_ctc" for name in frame.index
    ]
    (pair,) = demo.pairs(rows).to_dict("records")
    assert (pair["row"], pair["against"], pair["seed"]) == ("fold50", "channels50", 0)
    assert pair["difference"] == pytest.approx(
        frame.loc["fold50", "cer"] - frame.loc["channels50", "cer"]
    )
    demo.draw(frame.reset_index(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_records_without_dense(demo: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no row hubert_demo_ctc"):
        demo.read_rows(tmp_path)
