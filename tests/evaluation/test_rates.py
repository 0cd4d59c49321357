"""The learning rate that s3prl's engine takes from the one-pass engine: found, made, recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.evaluation import load_settings, onepass, score
from s3prl_compress.evaluation.rates import onepass_scores, rates_by_onepass
from s3prl_compress.results.records import ScoreRecord, read_records
from s3prl_compress.s3prl_bridge import engine as s3prl_engine
from s3prl_compress.s3prl_bridge.upstream import S3PRLUpstreamAdapter
from s3prl_compress.tasks.base.engine import EngineResult, Job
from s3prl_compress.tasks.registry import find_task

from ..support.small_corpora import write_transcripts

RATES = [1e-5, 1e-2, 1e-3]


def write_recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "tiny.yaml"
    values = {
        "total_steps": 8,
        "batch_size": 8,
        "eval_step": 4,
        "crops_per_file": 2,
        "learning_rates": RATES,
        "engines": {"s3prl": {"rate_from": "onepass", "total_steps": 4}},
    }
    path.write_text(yaml.safe_dump(values | changes), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture
def arguments(encoder: SpeechEncoder, tiny_corpus: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "source": encoder,
        "recipe": write_recipe(tmp_path),
        "data": tiny_corpus,
        "output": tmp_path / "results",
        "name": "tiny",
        "device": "cpu",
    }


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[float, ...], int]]:
    """The jobs that reached an engine; s3prl's answers with the first class of every utterance."""
    jobs: list[tuple[str, tuple[float, ...], int]] = []
    original = onepass.run

    def by_onepass(job: Job) -> EngineResult:
        jobs.append(("onepass", job.settings.learning_rates, job.seed))
        return original(job)

    def by_s3prl(job: Job) -> EngineResult:
        jobs.append(("s3prl", job.settings.learning_rates, job.seed))
        return made_up_result(job)

    monkeypatch.setattr(onepass, "run", by_onepass)
    monkeypatch.setattr(s3prl_engine, "run", by_s3prl)
    return jobs


def made_up_result(job: Job) -> EngineResult:
    from s3prl_compress.results.records import RateResult

    rates = job.settings.learning_rates
    predicted = job.corpus.classes[0] if job.corpus.classes else "A"
    return EngineResult(
        predictions=[
            (job.corpus.utterance_name(item), item.label, predicted)
            for item in job.corpus.test_items()
        ],
        rates=tuple(RateResult(learning_rate=r, dev_score=50.0, best_step=4) for r in rates),
        learning_rate=rates[0],
        dev_score=50.0,
        approximate=False,
    )


@pytest.mark.s3prl
def test_real_runs_of_both_engines(
    arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        record = score(**arguments, engine="s3prl")
    finally:
        torch.set_num_threads(threads)
    records = {one.engine: one for _, one in read_records(arguments["output"])}
    chosen = records["onepass"]
    assert isinstance(chosen, ScoreRecord)
    assert chosen.rate_choice == "dev sweep"
    assert record.learning_rate == chosen.learning_rate
    assert [rate.learning_rate for rate in record.rates] == [chosen.learning_rate]
    assert record.rate_choice == "one-pass"
    assert record.rate_record is not None
    assert (arguments["output"] / record.rate_record).is_file()
    assert record.rate_record.startswith("tiny.ks.onepass")
    assert any("one-pass engine chose" in note for note in record.notes)
    assert record.settings["learning_rates"] == RATES  # the protocol, the same for all upstreams
    assert "running the one-pass engine first" in capsys.readouterr().err
    assert score(**arguments, engine="s3prl") == record
    assert "running" not in capsys.readouterr().err


def test_the_record_of_the_same_seed_is_preferred(
    arguments: dict[str, Any], runs: list[Any]
) -> None:
    first = score(**arguments, seed=0)
    second = score(**arguments, seed=1)
    other = score(**arguments, seed=1, engine="s3prl")
    assert other.rate_record == second.predictions.replace(".csv", ".json")
    third = score(**arguments, seed=2, engine="s3prl")
    assert third.rate_record == first.predictions.replace(".csv", ".json")
    assert [run[0] for run in runs] == ["onepass", "onepass", "s3prl", "s3prl"]
    # A one-pass record of its seed that comes later does not undo the finished cell.
    score(**arguments, seed=2)
    assert score(**arguments, seed=2, engine="s3prl") == third
    assert score(**arguments, seed=2, engine="s3prl", force=True).rate_record != third.rate_record


@pytest.mark.parametrize("what", ["encoder", "recipe", "predictions", "version"])
def test_only_a_complete_record_of_the_same_things_counts(
    arguments: dict[str, Any], runs: list[Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score(**arguments)
    if what == "encoder":
        arguments["source"] = random_encoder(NAMED_SHAPES["hubert_tiny"], seed=1)
    elif what == "recipe":
        write_recipe(arguments["recipe"].parent, total_steps=12)
    elif what == "predictions":
        (arguments["output"] / first.predictions).unlink()
    else:
        versions = {"onepass": 99, "s3prl": 99}
        for module in ("cell", "identity"):
            name = f"s3prl_compress.evaluation.{module}.ENGINE_VERSIONS"
            monkeypatch.setattr(name, versions)
    score(**arguments, engine="s3prl")
    assert [run[0] for run in runs] == ["onepass", "onepass", "s3prl"]


def test_another_chosen_rate_is_another_cell(arguments: dict[str, Any], runs: list[Any]) -> None:
    chosen = score(**arguments)
    before = score(**arguments, engine="s3prl")
    path = arguments["output"] / str(before.rate_record)
    other = next(rate for rate in RATES if rate != chosen.learning_rate)
    path.write_text(chosen.model_copy(update={"learning_rate": other}).model_dump_json())
    after = score(**arguments, engine="s3prl")
    assert after.learning_rate == other
    assert after.predictions != before.predictions
    assert after.settings == before.settings


def test_given_rates_are_used_and_named(arguments: dict[str, Any], runs: list[Any]) -> None:
    recipe = write_recipe(arguments["recipe"].parent, engines={"s3prl": {"learning_rates": [0.5]}})
    record = score(**arguments | {"recipe": recipe}, engine="s3prl")
    assert (record.rate_choice, record.rate_record) == ("given", None)
    assert "One learning rate, not tuned." in record.notes
    assert runs == [("s3prl", (0.5,), 0)]
    recipe = write_recipe(arguments["recipe"].parent, engines={})
    record = score(**arguments | {"recipe": recipe}, engine="s3prl")
    assert record.rate_choice == "dev sweep"
    assert not any("not tuned" in note for note in record.notes)


def test_rates_of_a_file_come_before_those_of_what_it_extends(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: official\nlearning_rates: [1.0e-2, 1.0e-1]\n")
    settings, _ = load_settings("sid", path, "s3prl")
    assert (settings.rate_from, settings.learning_rates) == (None, (1e-2, 1e-1))
    path.write_text("extends: official\ntotal_steps: 10000\n")
    assert load_settings("sid", path, "s3prl")[0].rate_from == "onepass"
    assert load_settings("sid", path, "onepass")[0].rate_from is None


def test_a_choice_of_one_is_refused(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, engines={"onepass": {"learning_rates": [1e-2]},
                                           "s3prl": {"rate_from": "onepass"}})  # fmt: skip
    with pytest.raises(
        InputError, match="rate_from: onepass: the one-pass engine has one"
    ) as error:
        load_settings("ks", path, "s3prl")
    assert "\n" not in str(error.value)


def test_identity_of_settings_without_it_is_as_before(tmp_path: Path) -> None:
    assert "rate_from" not in load_settings("ks", "official", "onepass")[0].identity()
    assert load_settings("ks", "official", "s3prl")[0].identity()["rate_from"] == "onepass"


def test_the_engine_first_failing_is_one_line(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(job: Job) -> EngineResult:
        raise InputError("the frames need 400 GB")

    monkeypatch.setattr(onepass, "run", no_space)
    with pytest.raises(InputError, match="need 400 GB; to sweep on the engine s3prl") as error:
        score(**arguments, engine="s3prl")
    assert "\n" not in str(error.value)


@pytest.mark.s3prl
def test_third_party_upstreams_are_swept_on_asr(tmp_path: Path, runs: list[Any]) -> None:
    corpus = write_transcripts(tmp_path / "corpus", ["AB", "BA"], train=8)
    recipe = write_recipe(tmp_path)
    fbank = S3PRLUpstreamAdapter("fbank")
    record = score(
        fbank, "asr", data=corpus, output=tmp_path / "out", recipe=recipe, engine="s3prl"
    )
    assert runs == [("s3prl", tuple(RATES), 0)]
    assert record.rate_choice == "dev sweep"
    assert onepass_scores(find_task("ks"), third_party=True)
    assert onepass_scores(find_task("asr"), third_party=False)
    assert not onepass_scores(find_task("asr"), third_party=True)


def test_records_of_a_wrong_kind_are_passed_over(arguments: dict[str, Any]) -> None:
    settings, _ = load_settings("ks", arguments["recipe"], "onepass")
    record = score(**arguments)
    same = {
        "checkpoint": record.upstream.checkpoint_sha256,
        "task": find_task("ks"),
        "corpus": record.corpus.fingerprint,
        "settings": settings,
        "seed": 0,
    }
    (found,) = rates_by_onepass([record], **same)  # type: ignore[arg-type]
    assert found.learning_rate == record.learning_rate
    for wrong in ({"engine": "s3prl"}, {"padding": "fairseq"}, {"task": "sid"}):
        other = record.model_copy(update=wrong)
        assert rates_by_onepass([other], **same) == []  # type: ignore[arg-type]
