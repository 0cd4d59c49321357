"""Scores with a language model: beside greedy ones, tuned on dev, from frames computed once."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pandas
import pytest

from s3prl_compress.cli import app as cli
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.evaluation import LanguageModelOptions, score
from s3prl_compress.methods import compress
from s3prl_compress.report import report
from s3prl_compress.results.records import ScoreRecord, read_records
from s3prl_compress.tasks.ctc import beam_head, emissions
from s3prl_compress.training.ctc import add_head

from ..support.letters import write_letters

pytest.importorskip("kenlm", reason="the extra lm is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Letters, two models, and language models of words and of characters."""
    folder = tmp_path_factory.mktemp("lm")
    write_letters(folder / "letters")
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"]).eval()
    add_head(encoder, ["ab cd"], seed=0)
    save(encoder, folder / "tuned")
    save(compress(encoder, "magnitude", sparsity=0.2), folder / "smaller")
    command = ["ngram", "--data", str(folder / "letters"), "--order", "2", "--output"]
    assert cli.main([*command, str(folder / "lm.arpa")]) == 0
    assert cli.main([*command, str(folder / "letters.arpa"), "--unit", "characters"]) == 0
    return folder


@pytest.fixture(autouse=True)
def small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_head, "WEIGHTS", (0.5, 2.0))
    monkeypatch.setattr(beam_head, "WORD_SCORES", (-1.0, 1.0))


def command(folder: Path, output: Path, *more: str, model: str = "tuned") -> list[str]:
    arguments = ["score", str(folder / model), "--task", "ctc", "--output", str(output)]
    data = [] if "--data" in more else ["--data", str(folder / "letters")]
    return [*arguments, *data, "--device", "cpu", *more]


def score_records(folder: Path) -> list[ScoreRecord]:
    return [one for _, one in read_records(folder) if isinstance(one, ScoreRecord)]


def test_a_language_model_gives_a_second_record(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = []
    forward = emissions.compute_emissions

    def counted(*given: Any) -> emissions.Emissions:
        passes.append(given)
        return forward(*given)

    monkeypatch.setattr(emissions, "compute_emissions", counted)
    words = ["--lm", str(folder / "lm.arpa"), "--beam", "10"]
    assert cli.main(command(folder, tmp_path, *words, "--json")) == 0
    greedy, searched = json.loads(capsys.readouterr().out)["records"]
    assert (greedy["engine"], searched["engine"]) == ("greedy", "lm")
    assert len(passes) == 2  # test and dev
    record = next(one for one in score_records(tmp_path) if one.engine == "lm")
    used = record.language_model
    assert used is not None
    assert (used.name, used.order, used.lexicon, used.beam) == ("lm.arpa", 2, "lm", 10)
    assert [(one.weight, one.word_score) for one in used.grid] == [
        (0.5, -1.0),
        (0.5, 1.0),
        (2.0, -1.0),
        (2.0, 1.0),
    ]
    best = min(used.grid, key=lambda one: one.dev_score)
    assert (used.weight, used.word_score) == (best.weight, best.word_score)
    assert record.dev_score == best.dev_score
    assert used.dev is not None
    assert used.dev.sizes == {"dev": 4}
    known = {line.split("\t")[1] for line in (folder / "lm.arpa").read_text().splitlines()[5:20]}
    predicted = pandas.read_csv(tmp_path / record.predictions, keep_default_na=False)["predicted"]
    assert set(" ".join(predicted).split()) < known
    assert any(predicted)
    # Another language model decodes the frames that are there.
    letters = ["--lm", str(folder / "letters.arpa"), "--lexicon", "none"]
    assert cli.main(command(folder, tmp_path, *letters)) == 0
    assert cli.main(command(folder, tmp_path, *words)) == 0
    assert len(passes) == 2
    assert sorted(one.engine for one in score_records(tmp_path)) == ["greedy", "lm", "lm"]


def test_the_leaderboard_has_them_beside_greedy_and_apart(folder: Path, tmp_path: Path) -> None:
    lm = ["--lm", str(folder / "lm.arpa"), "--lm-weight", "1", "--word-score", "0"]
    for model in ("tuned", "smaller"):
        assert cli.main(command(folder, tmp_path, *lm, model=model)) == 0
    paths = report(tmp_path)
    table = pandas.read_csv(paths[1])
    assert table.groupby("block")["engine"].agg(["first", "nunique"]).to_numpy().tolist() == [
        ["greedy", 1],
        ["lm", 1],
    ]
    searched = table[table["engine"] == "lm"]
    assert searched["lm_weight"].tolist() == [1.0, 1.0]
    assert searched["p_value"].notna().sum() == 1
    text = paths[0].read_text(encoding="utf-8")
    greedy_table, lm_table = (
        next(
            part for part in text.split("\n#") if f": {engine} engine, ind" in part.splitlines()[0]
        )
        for engine in ("greedy", "lm")
    )
    (heading,) = (line for line in greedy_table.splitlines() if line.startswith("| #"))
    assert "with LM" in heading
    assert "with LM" not in lm_table
    assert "language model lm.arpa (2-gram" in lm_table


def test_given_weights_need_no_dev(folder: Path, tmp_path: Path) -> None:
    copytree(folder / "letters/test-clean", tmp_path / "speech")
    options = LanguageModelOptions(file=str(folder / "lm.arpa"), weight=1.5, word_score=0.5)
    record = score(
        folder / "tuned",
        "ctc",
        data=tmp_path / "speech",
        output=tmp_path / "out",
        language_model=options,
    )
    assert record.engine == "lm"
    assert record.dev_score is None
    assert record.language_model is not None
    assert (record.language_model.weight, record.language_model.word_score) == (1.5, 0.5)
    assert (record.language_model.grid, record.language_model.dev) == ((), None)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--lm {folder}/none.arpa", "none.arpa: cannot be read as a language model (No such file"),
        ("--lm {folder}/tuned/config.json", "config.json: neither an ARPA file"),
        ("--lm {folder}/letters.arpa", "takes no lexicon; give --lexicon none"),
        ("--lm {folder}/lm.arpa --lexicon none", "not a language model of characters"),
        ("--lm {folder}/lm.arpa --lexicon {folder}/none", "none: cannot be read as a lexicon"),
        ("--lm {folder}/lm.arpa --lexicon {folder}/other", "other: none of its 2 words can be"),
        ("--lm {folder}/lm.arpa --beam 0", "language model: beam: must be greater than or equal"),
        ("--lexicon none --beam 5", "lexicon, beam: needs a language model; give its file as --lm"),
        (
            "--lm {folder}/lm.arpa --data {folder}/letters/test-clean/1",
            "no dev split to tune the weights of the language model on",
        ),
        (
            "--lm {folder}/lm.arpa --lm-dev {folder}/letters/test-clean",
            "nothing to tune on ({folder}/letters/test-clean: 4 of its recordings are in the test",
        ),
        (
            "--lm {folder}/lm.arpa --lm-dev {folder}/letters --lm-weight 1 --word-score 0",
            "both weights of the language model are given, so nothing is tuned",
        ),
        ("--lm {folder}/lm.arpa --task ks", "task ks: its heads are decoded without"),
    ],
)
def test_bad_input_is_one_line(
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    more: str,
    message: str,
) -> None:
    (folder / "other").write_text("123\n456\n")
    arguments = more.format(folder=folder).split()
    assert cli.main(command(folder, tmp_path / "out", *arguments)) == 2
    # Progress bars end with a carriage return.
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert message.format(folder=folder) in line
    assert not list((tmp_path / "out").glob("*.json"))
