from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from shutil import copytree
from typing import Any

import jiwer
import numpy as np
import pandas
import pytest
import soundfile

from s3prl_compress.cli import app as cli
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder, save
from s3prl_compress.evaluation import record_path, score, score_test_sets
from s3prl_compress.methods import compress
from s3prl_compress.report import report
from s3prl_compress.results.records import read_records, write_record
from s3prl_compress.tasks.ctc import emissions, greedy
from s3prl_compress.training.ctc import add_head

from ..support.letters import write_letters
from ..support.made_up import score as made_up_score
from ..support.made_up import upstream


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root)
    return root


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"]).eval()
    add_head(encoder, ["ab cd"], seed=0)
    return encoder


def test_the_record_says_that_nothing_was_trained(
    encoder: SpeechEncoder, data: Path, tmp_path: Path
) -> None:
    record = score(encoder, "ctc", data=data, output=tmp_path, name="tuned")
    assert record.interval is not None
    assert record.interval[0] <= record.score <= record.interval[1]
    assert (record.engine, record.recipe, record.rates) == ("greedy", "none", ())
    assert record.seed is record.learning_rate is record.dev_score is record.chance is None
    assert record.corpus.sizes == {"test": record.test_size} == {"test": 4}
    assert not record.higher_is_better
    ((path, read),) = read_records(tmp_path)
    assert read == record
    assert path == record_path(record, tmp_path)
    assert path.name.startswith("tuned.ctc.greedy.")
    with open(tmp_path / record.predictions, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "truth", "predicted", "speaker"]
    files, truth, predicted, speakers = (list(column) for column in zip(*rows, strict=True))
    assert files == [f"test-clean/1/2/1-2-000{number}.flac" for number in range(4)]
    assert all(text == text.upper() for text in truth)
    assert set(speakers) == {"1"}
    assert record.score == pytest.approx(100 * jiwer.wer(truth, predicted))
    assert record.other_metrics == {"cer": pytest.approx(100 * jiwer.cer(truth, predicted))}
    words = jiwer.process_words(truth, predicted)
    kinds = (words.substitutions, words.deletions, words.insertions)
    assert dataclasses.astuple(record.edits["words"])[1:] == kinds
    assert sum(record.edits["words"].rates()) == pytest.approx(record.score)
    characters = record.edits["characters"]
    assert sum(characters.rates()) == pytest.approx(record.other_metrics["cer"])


def test_a_finished_cell_is_not_run_again_unless_told_to(
    encoder: SpeechEncoder, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, passes = [], []
    decode, forward = greedy.best_paths, emissions.compute_emissions

    def counted(*given: Any) -> list[str]:
        runs.append(given)
        return decode(*given)

    def counted_forward(*given: Any) -> emissions.Emissions:
        passes.append(given)
        return forward(*given)

    monkeypatch.setattr(greedy, "best_paths", counted)
    monkeypatch.setattr(emissions, "compute_emissions", counted_forward)
    first = score(encoder, "ctc", data=data, output=tmp_path)
    assert score(encoder, "ctc", data=data, output=tmp_path) == first
    assert len(runs) == 1
    assert score(encoder, "ctc", data=data, output=tmp_path, force=True).score == first.score
    assert len(runs) == 2
    assert len(passes) == 1  # the frames of the first run are decoded again
    smaller = compress(encoder, "magnitude", sparsity=0.2)
    other = score(smaller, "ctc", data=data, output=tmp_path)
    assert score(encoder, "ctc", data=data / "dev-clean", output=tmp_path) != first
    assert len(runs) == len(passes) + 1 == 4
    assert len(list(read_records(tmp_path))) == 3
    assert other.upstream.methods


def test_normalisation_can_be_overridden(
    encoder: SpeechEncoder, data: Path, tmp_path: Path
) -> None:
    folder = save(encoder, tmp_path / "tuned")
    plain = score(folder, "ctc", data=data, output=tmp_path / "results")
    louder = score(folder, "ctc", data=data, output=tmp_path / "results", normalize=True)
    assert (plain.upstream.normalize, louder.upstream.normalize) == (False, True)
    assert plain.upstream.checkpoint_sha256 != louder.upstream.checkpoint_sha256
    assert any("The waveforms are normalised" in note for note in louder.notes)


def test_a_table_will_do(encoder: SpeechEncoder, data: Path, tmp_path: Path) -> None:
    folder = score(encoder, "ctc", data=data / "test-clean", output=tmp_path)
    lines = (data / "test-clean/1/2/1-2.trans.txt").read_text().splitlines()
    rows = [line.partition(" ") for line in lines]
    table = tmp_path / "speech.csv"
    text = "".join(f"{data}/test-clean/1/2/{name}.flac,{words}\n" for name, _, words in rows)
    table.write_text("file,transcript\n" + text)
    record = score(encoder, "ctc", data=table, output=tmp_path)
    assert record.score == folder.score
    assert (record.corpus.name, folder.corpus.name) == ("speech", "test-clean")


def test_utterances_that_are_too_short_count_as_errors(
    encoder: SpeechEncoder, data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "speech"
    copytree(data / "test-clean", root)
    folder = score(encoder, "ctc", data=root, output=tmp_path / "one")
    for name, samples in (("1-2-0008.flac", 399), ("1-2-0009.wav", 0)):
        soundfile.write(root / "1/2" / name, np.full(samples, 0.1), 16_000)
    with open(root / "1/2/1-2.trans.txt", "a") as file:
        file.write("1-2-0008 ab\n1-2-0009 c d\n")
    record = score(encoder, "ctc", data=root, output=tmp_path / "two")
    words = folder.edits["words"].tokens
    assert record.test_size == folder.test_size + 2
    assert record.score == pytest.approx((folder.score * words + 300) / (words + 3))
    (note,) = set(record.notes) - set(folder.notes)
    assert note.startswith("2 of 6 utterances are too short for the encoder")
    rows = (tmp_path / "two" / record.predictions).read_text().splitlines()
    assert rows[-1] == "1/2/1-2-0009.wav,C D,,1"


def test_generated_speech_says_so(encoder: SpeechEncoder, data: Path, tmp_path: Path) -> None:
    card: dict[str, Any] = {
        "task": "asr",
        "variant": "transcripts",
        "name": "letters",
        "generated": True,
        "classes": (),
        "source": {},
    }
    root = tmp_path / "corpus"
    root.mkdir()
    copytree(data / "test-clean", root / "test-clean")
    (root / "corpus.json").write_text(json.dumps(card))
    for place, name in ((root, "letters"), (root / "test-clean", "letters, test-clean")):
        found = score(encoder, "ctc", data=place, output=tmp_path / name).corpus
        assert (found.generated, found.name) == (True, name)


def test_two_test_sets_are_not_mixed(encoder: SpeechEncoder, data: Path, tmp_path: Path) -> None:
    for name in ("test-clean", "test-other"):
        copytree(data / "test-clean", tmp_path / name)
    lines = tmp_path / "test-other/1/2/1-2.trans.txt"
    lines.write_text(lines.read_text().replace("1-2-0000 ", "1-2-0000 d "))
    with pytest.raises(InputError, match=r"test-clean and test-other.*; give .*test-clean"):
        score(encoder, "ctc", data=tmp_path, output=tmp_path / "results")
    sets = [tmp_path, data / "dev-clean"]
    records = score_test_sets(encoder, data=sets, output=tmp_path / "results")
    assert [record.corpus.name for record in records] == ["test-clean", "test-other", "dev-clean"]
    assert len({record.score for record in records}) == 3
    assert records == score_test_sets(encoder, data=sets, output=tmp_path / "results")


def test_all_test_sets_are_checked_before_the_first_is_scored(
    encoder: SpeechEncoder, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no-such"):
        score_test_sets(encoder, data=[data, tmp_path / "no-such"], output=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_it_never_shares_a_block_with_frozen_recognition(
    encoder: SpeechEncoder, data: Path, tmp_path: Path
) -> None:
    score(encoder, "ctc", data=data, output=tmp_path, name="tuned")
    score(
        compress(encoder, "magnitude", sparsity=0.2),
        "ctc",
        data=data,
        output=tmp_path,
        name="smaller",
    )
    frozen = made_up_score(
        upstream("tuned"),
        90.0,
        task="asr",
        variant="librispeech",
        metric="WER (percent)",
        higher_is_better=False,
        other_metrics={"cer": 30.0},
    )
    write_record(frozen, tmp_path, "frozen")
    paths = report(tmp_path)
    table = pandas.read_csv(paths[1])
    assert table.groupby("block")["task"].nunique().tolist() == [1, 1]
    assert table.groupby("task")["upstream"].count().to_dict() == {"asr": 1, "ctc": 2}
    text = paths[0].read_text(encoding="utf-8")
    assert "not SUPERB's" in text
    assert "Recipe none" not in text
    assert "seed None" not in text


def test_the_fine_tuned_model_is_dense_to_what_was_made_of_it(data: Path, tmp_path: Path) -> None:
    speech = {
        **{"audio": data, "steps": 1, "batch_seconds": 4.0, "accumulation": 1, "workers": 0},
        **{"log_every": 1, "checkpoint_every": 1},
    }
    tuned = compress(random_encoder(NAMED_SHAPES["hubert_tiny"]), "ctc", **speech)
    smaller = compress(tuned, "magnitude", sparsity=0.2)
    again = compress(smaller, "ctc", **speech)
    for name, encoder in (("tuned", tuned), ("smaller", smaller), ("again", again)):
        score(encoder, "ctc", data=data, output=tmp_path, name=name)
    table = pandas.read_csv(report(tmp_path)[1]).set_index("upstream")
    assert table["reference"].to_dict() == {"tuned": True, "smaller": False, "again": False}
    assert table.loc[["smaller", "again"], "p_value"].notna().all()
    # The word error rate is far above 60, so that of characters leads.
    assert set(table["metric"]) == {"CER (percent)"}
    assert set(table.loc[["smaller", "again"], "p_test"]) == {"MAPSSWE (characters)"}
    assert set(table.loc[["smaller", "again"], "companion_p_test"]) == {"MAPSSWE"}


def test_the_command_line(
    encoder: SpeechEncoder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(encoder, tmp_path / "tuned")
    command = ["score", str(folder), "--task", "ctc", "--data", str(data)]
    command += ["--output", str(tmp_path / "results"), "--device", "cpu", "--threads", "1"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "tuned: ctc WER (percent)" in out
    assert "CER" in out
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["other_metrics"]["cer"] > 0
    several = f"{data / 'test-clean'}, {data / 'dev-clean'}"
    assert cli.main([*command[:4], "--data", several, *command[6:], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["records"]
    assert [one["corpus"] for one in found] == ["test-clean", "dev-clean"]
    assert found[0]["edits"]["words"]["tokens"] > 0
    assert cli.main(["ls", "tasks", "ctc"]) == 0
    assert "greedy" in capsys.readouterr().out


def test_what_has_no_meaning_is_refused(encoder: SpeechEncoder, data: Path, tmp_path: Path) -> None:
    headless = random_encoder(NAMED_SHAPES["hubert_tiny"])
    with pytest.raises(InputError, match="has no CTC head; fine-tune it first"):
        score(headless, "ctc", data=data, output=tmp_path)
    with pytest.raises(InputError, match="it takes no engine, seed"):
        score(encoder, "ctc", data=data, output=tmp_path, engine="s3prl", seed=3)
    with pytest.raises(InputError, match="nothing of split 'test'"):
        score(encoder, "ctc", data=_without_test(data, tmp_path), output=tmp_path)


def test_a_head_for_another_alphabet_is_refused_before_anything_is_scored(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = random_encoder(NAMED_SHAPES["hubert_tiny"]).eval()
    add_head(other, ["да нет"], seed=0)
    model = save(other, tmp_path / "other")
    output = tmp_path / "out"
    command = ["score", str(model), "--task", "ctc", "--data", str(data), "--output", str(output)]
    assert cli.main(command) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: {data}")
    assert "the vocabulary of the CTC head does not match the transcripts" in line
    assert not output.exists()


def _without_test(data: Path, folder: Path) -> Path:
    copytree(data / "dev-clean", folder / "speech" / "dev-clean")
    return folder / "speech"
