"""The task `whisper`: its score against jiwer on normalised texts, its options, its report."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from shutil import copytree
from typing import Any

import jiwer
import numpy as np
import pandas
import pytest
import soundfile
import yaml
from transformers.models.whisper.english_normalizer import (
    BasicTextNormalizer,
    EnglishTextNormalizer,
)
from whisper_normalizer import english

from s3prl_compress.audio import open_transcribed
from s3prl_compress.cli import main
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.evaluation import record_path, score, score_test_sets
from s3prl_compress.report import report
from s3prl_compress.results.records import ScoreRecord, read_records
from s3prl_compress.tasks.registry import find_task
from s3prl_compress.training.ctc import add_head
from s3prl_compress.whisper import Recogniser, compress, load, normalization
from s3prl_compress.whisper import save as save_whisper
from s3prl_compress.whisper.normalization import text_normalizer

from ...whisper.talking import talking_folder

SENTENCES = (
    "Mr. Brown's colour isn't grey, uh, it cost twenty-one dollars!",
    "A [laughs] B",
    "e dee abab",
    "uh",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking_folder(tmp_path_factory.mktemp("talking") / "tiny", 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of four noisy recordings by two speakers; one is longer than the window."""
    root, random = tmp_path_factory.mktemp("speech"), np.random.default_rng(0)
    lines = ["file,text,speaker"]
    for number, (text, seconds) in enumerate(zip(SENTENCES, (0.7, 2.5, 1.1, 0.5), strict=True)):
        soundfile.write(
            root / f"{number}.wav", random.normal(0, 0.1, round(16_000 * seconds)), 16_000
        )
        lines.append(f'{number}.wav,"{text}",{"ab"[number % 2]}')
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def results(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the model, and of what was made of it."""
    folder = tmp_path_factory.mktemp("results")
    smaller = save_whisper(
        compress(load(model), "clustering", sparsity=0.3), folder / "made" / "w30"
    )
    for source in (model, smaller):
        score(source, "whisper", data=data, output=folder)
    return folder


def records_of(folder: Path) -> dict[str, ScoreRecord]:
    found = (record for _, record in read_records(folder))
    return {one.upstream.name: one for one in found if isinstance(one, ScoreRecord)}


def predictions(record: ScoreRecord, folder: Path) -> list[dict[str, str]]:
    with open(folder / record.predictions, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_score_is_jiwers_on_texts_after_openais_normaliser(
    model: Path, data: Path, results: Path
) -> None:
    record = records_of(results)["tiny"]
    rows = predictions(record, results)
    assert [row["raw_truth"] for row in rows] == list(SENTENCES)
    written = Recogniser(load(model)).transcribe(open_transcribed(data).audio)
    assert [row["raw_predicted"] for row in rows] == [one.text for one in written]
    normalize = english.EnglishTextNormalizer()
    truth = [normalize(row["raw_truth"]).strip() for row in rows]
    predicted = [normalize(row["raw_predicted"]).strip() for row in rows]
    assert truth[0] == "mister brown is color is not gray it cost $21"
    assert [row["truth"] for row in rows] == [" ".join(text.split()) for text in truth]
    assert truth[3] == ""  # its words count as insertions
    assert record.score == pytest.approx(100 * jiwer.wer(truth, predicted))
    assert record.other_metrics["cer"] == pytest.approx(100 * jiwer.cer(truth, predicted))
    assert record.edits["words"].tokens == sum(len(text.split()) for text in truth)
    assert record.error_units == "4 utterances of 2 speakers"
    assert record.runaways == sum(bool(row["runaway"]) for row in rows)
    assert {row["runaway"] for row in rows} == {one.runaway for one in written}


def test_the_record_says_how_the_text_was_made(results: Path) -> None:
    record = records_of(results)["tiny"]
    assert (record.engine, record.recipe, record.seed) == ("greedy", "none", None)
    assert record.settings["language"] == "en"
    assert record.settings["task"] == "transcribe"
    assert record.settings["suppress_tokens"] == "checkpoint"
    assert record.settings["max_new_tokens"] == 224
    assert record.settings["normalizer"].startswith("whisper-normalizer 0.")
    assert record.settings["transformers"] == record.environment.packages["transformers"]
    notes = " ".join(record.notes)
    assert f"Runaways in {record.runaways} of 4 utterances" in notes
    assert "1 of 4 transcripts are empty after normalisation" in notes
    assert record.upstream.cost is not None
    assert record.upstream.cost.macs_32 > 0


def test_it_has_a_block_of_its_own_with_tests_against_dense(data: Path, results: Path) -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"]).eval()
    add_head(encoder, ["mister brown's colour isn't grey"], seed=0)
    folder = results.parent / "both-tasks"
    copytree(results, folder)
    score(encoder, "ctc", data=data, output=folder, name="tuned")
    paths = report(folder)
    table = pandas.read_csv(paths[1]).set_index("upstream")
    assert table.groupby("block")["task"].nunique().tolist() == [1, 1]
    assert table["reference"].to_dict() == {"tiny": True, "w30": False, "tuned": False}
    assert table.loc["w30", "p_test"].startswith("MAPSSWE")
    assert not np.isnan(table.loc["w30", "p_corrected"])
    assert table.loc["tiny", "runaways"] == records_of(results)["tiny"].runaways
    text = paths[0].read_text(encoding="utf-8")
    assert "Recognition by a Whisper model (not a SUPERB task)" in text
    assert "runaways" in text
    page = next(path for path in paths if path.suffix == ".html").read_text(encoding="utf-8")
    assert "Recognition by a Whisper model" in page


def test_a_finished_cell_is_not_run_again_and_options_make_another(
    model: Path, data: Path, results: Path
) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"suppress_tokens": "none"},
        {"max_new_tokens": "5"},
        {"language": "German"},
    ]
    records = [
        score(model, "whisper", data=data, output=results.parent / "more", options=one)
        for one in options
    ]
    again = score(model, "whisper", data=data, output=results.parent / "more", options=options[3])
    assert again == records[3]
    assert len({record.predictions for record in records}) == 4
    assert records[1].settings["suppress_tokens"] == "none"
    assert records[2].settings["max_new_tokens"] == 5
    assert records[3].settings["language"] == "de"
    assert records[3].settings["normalizer"].endswith(", basic")
    path = record_path(records[3], results.parent / "more")
    assert path.name.startswith("tiny.whisper.greedy.")
    rows = predictions(records[3], path.parent)
    basic = BasicTextNormalizer()
    assert [row["truth"] for row in rows] == [
        " ".join(basic(row["raw_truth"]).split()) for row in rows
    ]


def test_the_normaliser_is_openais_with_its_map() -> None:
    mapping = english.EnglishSpellingNormalizer().mapping
    assert len(mapping) == 1739
    theirs, ours = EnglishTextNormalizer(mapping), text_normalizer("en")
    for text in (*SENTENCES, "It's half past twelve; three hundred metres, ma'am.", "ten percent"):
        assert ours(text) == " ".join(theirs(text).split())


def test_another_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalization, "_SPELLINGS", 1740)
    with pytest.raises(InputError, match=r"^whisper-normalizer .* has 1739 entries, OpenAI's has"):
        text_normalizer("en")


def test_the_command_line(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", str(model), "--task", "whisper", "--data", str(data), "--device", "cpu"]
    command += ["--output", str(tmp_path / "results"), "--max-new-tokens", "6", "--language", "de"]
    assert main(command) == 0
    assert "tiny: whisper WER (percent)" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["runaways"] >= 1
    assert main(["score", "--task", "whisper", "--help"]) == 0
    assert "--suppress-tokens" in capsys.readouterr().out
    assert main(["score", "--help"]) == 0
    assert "--suppress-tokens" not in capsys.readouterr().out


def test_what_cannot_be_scored_is_one_line_with_exit_code_2(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hubert = save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "hubert")
    english_only = talking_folder(tmp_path / "tiny.en", 4, english_only=True)
    bare = talking_folder(tmp_path / "bare", 4, with_tokenizer=False)

    def refused(source: Path, message: str, *options: str, task: str = "whisper") -> None:
        capsys.readouterr()
        command = ["score", str(source), "--task", task, "--data", str(data), *options]
        assert main([*command, "--output", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out").exists()

    refused(
        hubert,
        "is not a Whisper model (exported ones are not scored); recognition by other models is "
        "the task ctc",
    )
    assert main(["random", "whisper_tiny", "--output", str(tmp_path / "encoder")]) == 0
    refused(tmp_path / "encoder", "holds the encoder of a Whisper model alone")
    refused(tmp_path / "nowhere", "no such file or folder")
    refused(model, "is a Whisper model, which has no CTC head", task="ctc")
    refused(model, "task whisper: language: 'klingon' is none of", "--language", "klingon")
    refused(model, "language fr: this model does not know it", "--language", "fr")
    refused(english_only, "it is an English-only model", "--language", "en")
    refused(bare, "no tokenizer in it, nor in its base")
    refused(model, "task whisper: max_new_tokens: must", "--max-new-tokens", "0")
    refused(model, "its decoder has positions for 28", "--max-new-tokens", "200")
    refused(model, "task whisper: takes no normalize", "--normalize", "yes")
    refused(model, "nothing is trained, so it takes no recipe", "--recipe", "official")
    refused(model, "no option --beams; this task takes --language", "--beams", "5")
    refused(hubert, "no option --language", "--language", "en", task="ctc")


def test_python_gets_the_same_errors(model: Path, data: Path, tmp_path: Path) -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    with pytest.raises(InputError, match="a SpeechEncoder: is not a Whisper model"):
        score(encoder, "whisper", data=data, output=tmp_path)
    with pytest.raises(InputError, match="task ctc: takes no language; leave that out"):
        score(encoder, "ctc", data=data, output=tmp_path, options={"language": "en"})
    with pytest.raises(InputError, match="task asr: takes no language; leave that out"):
        score(encoder, "asr", data=data, output=tmp_path, options={"language": "en"})
    with pytest.raises(InputError, match="beams: no such option; there are language, "):
        score(load(model), "whisper", data=data, output=tmp_path, options={"beams": 5})


def test_nothing_left_of_the_transcripts_is_said(model: Path, data: Path, tmp_path: Path) -> None:
    table = tmp_path / "fillers.csv"
    table.write_text(f"file,text\n{data}/3.wav,uh\n")
    with pytest.raises(InputError, match="nothing is left of any transcript after the normaliser"):
        score(model, "whisper", data=table, output=tmp_path / "results")


def test_the_extra_is_asked_for(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "whisper_normalizer", None)
    with pytest.raises(InputError, match=r"task whisper needs whisper_normalizer; install with"):
        score_test_sets(model, "whisper", data=[data], output=tmp_path)


def test_a_loaded_model_has_the_identity_of_its_folder(
    model: Path, data: Path, results: Path
) -> None:
    record = score(load(model), "whisper", data=data, output=results, name="tiny")
    assert record == records_of(results)["tiny"]
    assert find_task("whisper").load_own_head().settings == record.settings


def suite(model: Path, data: Path, output: Path, **more: Any) -> str:
    content = {
        "output": str(output),
        "upstreams": [
            {"name": "tiny", "source": str(model)},
            {"name": "w30", "from": "tiny", "method": "clustering", "settings": {"sparsity": 0.3}},
        ],
        "tasks": [{"task": "whisper", "data": str(data), "options": {"max_new_tokens": 6}}],
        "device": "cpu",
        "threads": 1,
    }
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content | more, sort_keys=False))
    return str(path)


def test_a_suite_compresses_and_scores_it(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = suite(model, data, tmp_path / "out")
    assert main(["run", path, "--dry-run"]) == 0
    assert "whisper w30 greedy" in capsys.readouterr().out
    assert main(["run", path]) == 0
    assert "4 of 4 cells complete, 0 of them from earlier runs" in capsys.readouterr().out
    found = records_of(tmp_path / "out" / "records")
    assert set(found) == {"tiny", "w30"}
    assert found["w30"].upstream.methods
    assert found["w30"].settings["max_new_tokens"] == 6
    assert main(["run", path]) == 0
    assert "4 of 4 cells complete, 3 of them from earlier runs" in capsys.readouterr().out
    assert main(["run", path, "--dry-run"]) == 0
    assert "2 2" in " ".join(capsys.readouterr().out.split())


def test_a_suite_says_what_cannot_be_scored(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstreams = [
        {"name": "tiny", "source": str(model)},
        {"name": "plain", "random": {"shape": "hubert_tiny"}},
    ]
    assert main(["run", suite(model, data, tmp_path / "out", upstreams=upstreams)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: tasks: whisper: no Whisper decoder in plain: score only the ")
    assert "(upstreams: [tiny])" in error
    task = {"task": "whisper", "data": str(data), "options": {"beams": 5}}
    assert main(["run", suite(model, data, tmp_path / "out", tasks=[task])]) == 2
    assert "tasks: whisper: beams: no such option; there are " in capsys.readouterr().err
    wrong = {"name": "w", "from": "tiny", "method": "structured", "settings": {"sparsity": 0.3}}
    both = [upstreams[0], wrong]
    assert main(["run", suite(model, data, tmp_path / "out", upstreams=both)]) == 2
    assert "no method 'structured' for Whisper" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
