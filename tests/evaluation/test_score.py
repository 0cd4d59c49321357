from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    NAMED_SHAPES,
    SpeechEncoder,
    fingerprint,
    load,
    random_encoder,
    save,
)
from s3prl_compress.evaluation import onepass, record_path, score
from s3prl_compress.results.records import ScoreRecord, read_record, read_records
from s3prl_compress.tasks.base.engine import EngineResult, Job


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "quick.yaml"
    settings = {
        "total_steps": 40,
        "batch_size": 16,
        "eval_step": 20,
        "learning_rates": [1e-3, 1e-2],
        "crops_per_file": 4,
    }
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def arguments(
    encoder: SpeechEncoder, recipe: Path, cache: Path, tiny_corpus: Path, tmp_path: Path
) -> dict[str, Any]:
    return {
        "source": encoder,
        "recipe": recipe,
        "cache": cache,
        "data": tiny_corpus,
        "output": tmp_path / "results",
        "name": "tiny",
    }


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that reached the one-pass engine."""
    jobs: list[Job] = []
    original = onepass.run

    def counting(job: Job) -> EngineResult:
        jobs.append(job)
        return original(job)

    monkeypatch.setattr(onepass, "run", counting)
    return jobs


def test_a_cell_leaves_a_record_and_its_predictions(
    arguments: dict[str, Any], encoder: SpeechEncoder
) -> None:
    record = score(**arguments)
    output = arguments["output"]
    ((path, read),) = list(read_records(output))
    assert read == record
    assert path == record_path(record, output)
    assert path.name.startswith("tiny.ks.onepass.independent.seed0.")
    with open(output / record.predictions, newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["file", "truth", "predicted", "speaker"]
    assert len(rows) == record.test_size == 48
    assert all((arguments["data"] / "speech_commands_test" / row[0]).is_file() for row in rows)
    share = sum(row[1] == row[2] for row in rows) / len(rows)
    assert record.score == pytest.approx(100 * share)
    speakers = {row[3]: row[0] for row in rows}
    assert all(name in file for name, file in speakers.items())
    assert "" in speakers  # silence
    assert record.error_units == f"48 utterances of {len(speakers) - 1} speakers"
    assert 0 < record.standard_error < 20
    assert record.chance == pytest.approx(100 / 12)
    assert record.upstream.checkpoint_sha256 == fingerprint(encoder)
    assert (record.recipe, record.variant, record.metric) == (
        "quick",
        "official",
        "accuracy (percent)",
    )
    assert record.learning_rate in (1e-3, 1e-2)
    assert [rate.learning_rate for rate in record.rates] == [1e-3, 1e-2]


def test_random_weights_and_generated_speech_are_said(arguments: dict[str, Any]) -> None:
    notes = " ".join(score(**arguments).notes)
    assert "random weights" in notes
    assert "generated speech" in notes


def test_a_finished_cell_is_not_run_again_unless_told_to(
    arguments: dict[str, Any], runs: list[Job]
) -> None:
    first = score(**arguments)
    assert score(**arguments) == first
    assert len(runs) == 1
    assert score(**arguments, force=True).score == first.score
    assert len(runs) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"padding": "fairseq"},
        {"recipe": "smoke"},
        {"source": random_encoder(NAMED_SHAPES["hubert_tiny"], seed=1)},
    ],
    ids=["seed", "padding", "recipe", "encoder"],
)
def test_whatever_changes_the_result_is_another_cell(
    arguments: dict[str, Any], runs: list[Job], changes: dict[str, Any]
) -> None:
    score(**arguments)
    record = score(**{**arguments, **changes})
    assert len(runs) == 2
    assert len(list(read_records(arguments["output"]))) == 2
    assert record.approximate == ("padding" in changes)


def test_normalisation_can_be_overridden_and_is_another_cell(
    arguments: dict[str, Any], encoder: SpeechEncoder, runs: list[Job], tmp_path: Path
) -> None:
    folder = save(encoder, tmp_path / "tiny")
    records = {
        said: score(**{**arguments, "source": folder}, normalize=said)
        for said in (None, False, True)
    }
    assert records[False] == records[None]  # what the checkpoint says
    assert [job.encoder.normalize for job in runs] == [False, True]  # type: ignore[union-attr]
    assert [records[said].upstream.normalize for said in (False, True)] == [False, True]
    sums = {record.upstream.checkpoint_sha256 for record in records.values()}
    assert len(sums) == len(list(read_records(arguments["output"]))) == 2
    notes = [" ".join(records[said].notes) for said in (False, True)]
    assert ["The waveforms are normalised" in note for note in notes] == [False, True]
    message = r"the encoder: normalize applies only to checkpoints .* `encoder\.norm"
    with pytest.raises(InputError, match=message):
        score(**arguments, normalize=True)


@pytest.mark.s3prl
def test_the_other_process_of_an_engine_gets_the_override(
    arguments: dict[str, Any],
    encoder: SpeechEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from s3prl_compress.s3prl_bridge import engine

    class SeenError(Exception):
        pass

    def see(job: Job) -> EngineResult:
        assert job.checkpoint is not None
        raise SeenError(job.checkpoint == folder, load(job.checkpoint).normalize)

    monkeypatch.setattr(engine, "run", see)
    folder = save(encoder, tmp_path / "tiny")
    for said, expected in ((None, (True, False)), (False, (True, False)), (True, (False, True))):
        with pytest.raises(SeenError) as seen:
            score(**{**arguments, "source": folder}, engine="s3prl", normalize=said)
        assert seen.value.args == expected


def test_a_table_scores_as_the_corpus_prepared_from_it(
    arguments: dict[str, Any], speaker_table: Path, tiny_speakers: Path, tmp_path: Path
) -> None:
    arguments |= {"task": "sid", "recipe": _speaker_recipe(tmp_path)}
    prepared = score(**arguments | {"data": tiny_speakers})
    from_table = score(**arguments | {"data": speaker_table, "output": tmp_path / "other"})
    assert from_table.score == prepared.score
    assert from_table.corpus.fingerprint == prepared.corpus.fingerprint


def test_an_incomplete_cell_is_run_again(arguments: dict[str, Any], runs: list[Job]) -> None:
    record = score(**arguments)
    predictions = arguments["output"] / record.predictions
    path = record_path(record, arguments["output"])
    whole = predictions.read_text(encoding="utf-8")
    predictions.write_text(whole[:-200], encoding="utf-8")
    score(**arguments)
    predictions.unlink()
    score(**arguments)
    path.write_text("{", encoding="utf-8")
    score(**arguments)
    assert len(runs) == 4
    assert predictions.read_text(encoding="utf-8") == whole
    assert isinstance(read_record(path), ScoreRecord)


def test_a_killed_engine_leaves_no_record(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(job: Job) -> EngineResult:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(onepass, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            score(**arguments)
    assert list(read_records(arguments["output"])) == []
    assert score(**arguments).test_size == 48


def test_a_checkpoint_folder_is_named_after_itself(
    arguments: dict[str, Any], encoder: SpeechEncoder, tmp_path: Path
) -> None:
    folder = save(encoder, tmp_path / "hubert tiny.fold10")
    record = score(**{**arguments, "source": str(folder), "name": None})
    assert record.upstream.name == "hubert tiny.fold10"
    assert record.upstream.source == str(folder)
    assert record.predictions.startswith("hubert-tiny.fold10.ks.onepass")


def test_an_engine_that_leaves_out_an_utterance_is_caught(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = onepass.run

    def forgetful(job: Job) -> EngineResult:
        result = original(job)
        del result.predictions[3]
        return result

    monkeypatch.setattr(onepass, "run", forgetful)
    with pytest.raises(RuntimeError, match="47 utterances that are not the 48"):
        score(**arguments)


@pytest.mark.s3prl
def test_both_engines_leave_records_of_the_same_utterances(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    recipe = tmp_path / "short.yaml"
    recipe.write_text("extends: smoke\ntotal_steps: 4\neval_step: 2\n", encoding="utf-8")
    files = []
    for engine in ("onepass", "s3prl"):
        record = score(**{**arguments, "recipe": recipe}, engine=engine)  # type: ignore[arg-type]
        assert (record.engine, record.padding, record.test_size) == (engine, "independent", 48)
        with open(arguments["output"] / record.predictions, encoding="utf-8") as file:
            files.append([row[:2] for row in csv.reader(file)])
    assert files[0] == files[1]
    assert list(arguments["output"].rglob("model.safetensors")) == []  # no copy is left


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "whistling"}, "whistling: not known; give one of asr, ctc, er, ic, ks, pr, sid"),
        ({"engine": "third"}, "engine third: not known"),
        ({"recipe": "nothing.yaml"}, "nothing.yaml: cannot be read"),
        ({"seed": -1}, "seed -1"),
        ({"padding": "none"}, "padding none"),
        ({"device": "abacus"}, "device abacus"),
        ({"data": "nowhere"}, "nowhere: no such folder"),
    ],
)
def test_bad_arguments_are_one_line_before_any_work(
    arguments: dict[str, Any], runs: list[Job], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as raised:
        score(**{**arguments, **changes})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert runs == []
    assert not arguments["output"].exists()


def _speaker_recipe(folder: Path) -> Path:
    path = folder / "sid.yaml"
    settings = {"total_steps": 20, "batch_size": 8, "eval_step": 10, "learning_rates": [1e-2]}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path
