"""Several seeds in one run of the one-pass engine: what single runs give, in a record per seed."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.evaluation import onepass, parse_seeds, record_path, score, score_seeds
from s3prl_compress.results.records import ScoreRecord, read_record, read_records
from s3prl_compress.tasks.base.engine import EngineResult, Job

from ..support.small_corpora import write_transcripts

RECIPES: dict[str, dict[str, Any]] = {
    "ks": {"total_steps": 40, "batch_size": 16, "eval_step": 20, "crops_per_file": 4},
    "sid": {"total_steps": 60, "batch_size": 8, "accumulation": 4, "eval_step": 20},
    "er": {"total_steps": 30, "batch_size": 4, "accumulation": 8, "eval_step": 10},
    "asr": {
        "total_steps": 2,
        "batch_size": 8,
        "eval_step": 1,
        "learning_rates": [1e-2],
        "recognition": {"project_dim": 8, "rnn_dim": 8, "rnn_layers": 1, "specaug": False},
    },
}
SEEDS = (3, 0, 7)


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def corpora(
    tiny_corpus: Path,
    tiny_speakers: Path,
    tiny_emotions: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("asr") / "corpus"
    transcripts = write_transcripts(folder, ("A", "BE"), train=18)
    return {"ks": tiny_corpus, "sid": tiny_speakers, "er": tiny_emotions, "asr": transcripts}


@pytest.fixture
def arguments(
    request: pytest.FixtureRequest,
    encoder: SpeechEncoder,
    cache: Path,
    corpora: dict[str, Path],
    tmp_path: Path,
) -> dict[str, Any]:
    """The arguments of `score` but for the seed; the task is the test's parameter, or KS."""
    task = getattr(request, "param", "ks")
    recipe = tmp_path / "quick.yaml"
    recipe.write_text(yaml.safe_dump({"learning_rates": [1e-3, 1e-2, 1e-1]} | RECIPES[task]))
    return {
        "source": encoder,
        "task": task,
        "recipe": recipe,
        "cache": cache,
        "data": corpora[task],
        "output": tmp_path / "together",
        "name": "tiny",
    }


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The seeds of each run of the one-pass engine."""
    seeds: list[list[int]] = []
    original = onepass.run_seeds

    def counting(jobs: Sequence[Job]) -> Iterator[EngineResult]:
        seeds.append([job.seed for job in jobs])
        return original(jobs)

    monkeypatch.setattr(onepass, "run_seeds", counting)
    return seeds


def predictions(record: ScoreRecord, output: Path) -> list[list[str]]:
    with open(output / record.predictions, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def same(record: ScoreRecord, other: ScoreRecord) -> bool:
    """Whether two records say the same but for when and how fast they were made."""
    left, right = (
        one.model_dump(exclude={"seconds", "environment", "seeds_together", "layer_weights"})
        for one in (record, other)
    )
    weights = pytest.approx(other.layer_weights, abs=1e-4)
    return left == right and record.layer_weights == weights


@pytest.mark.parametrize("arguments", ["ks", "sid", "er", "asr"], indirect=True)
def test_each_seed_gets_the_record_of_its_single_run(
    arguments: dict[str, Any], tmp_path: Path, runs: list[list[int]]
) -> None:
    together = score_seeds(**arguments, seeds=SEEDS)
    assert runs == [list(SEEDS)]
    assert [record.seed for record in together] == list(SEEDS)
    alone = arguments | {"output": tmp_path / "alone"}
    for record in together:
        single = score(**alone, seed=record.seed)
        # Exactly, though weights differ by rounding: dev scores, best steps, rates, folds, score.
        assert same(record, single)
        assert predictions(record, arguments["output"]) == predictions(single, alone["output"])
        assert (record.seeds_together, single.seeds_together) == (3, 1)
    results = {str((r.rates, predictions(r, arguments["output"]))) for r in together}
    assert len(results) > 1  # else the test shows nothing
    stages = [record.seconds for record in together]
    assert all(sum(s.values()) == pytest.approx(2 * s["total"]) for s in stages)


def test_only_missing_seeds_are_trained(arguments: dict[str, Any], runs: list[list[int]]) -> None:
    output = arguments["output"]
    before = [score(**arguments, seed=1), *score_seeds(**arguments, seeds=[4, 8])]
    paths = {record_path(record, output): record for record in before}
    written = {path: path.stat().st_mtime_ns for path in paths}
    runs.clear()
    records = score_seeds(**arguments, seeds=range(10))
    assert runs == [[0, 2, 3, 5, 6, 7, 9]]
    assert [record.seed for record in records] == list(range(10))
    assert {record.seeds_together for record in records if record not in before} == {7}
    assert all(records[record.seed or 0] == record for record in before)
    assert {path: path.stat().st_mtime_ns for path in paths} == written
    assert len(list(read_records(output))) == 10
    assert score_seeds(**arguments, seeds=range(10)) == records
    assert len(runs) == 1
    assert [r.score for r in score_seeds(**arguments, seeds=[4, 8], force=True)] == [
        record.score for record in before[1:]
    ]
    assert runs[1:] == [[4, 8]]


def test_an_interrupted_run_keeps_the_seeds_that_were_done(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = onepass.run_seeds

    def killed(jobs: Sequence[Job]) -> Iterator[EngineResult]:
        yield from islice(original(jobs), 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(onepass, "run_seeds", killed)
        with pytest.raises(KeyboardInterrupt):
            score_seeds(**arguments, seeds=SEEDS)
    found = [read_record(path) for path in arguments["output"].glob("*.json")]
    assert {record.seed for record in found if isinstance(record, ScoreRecord)} == {3, 0}
    assert [record.seed for record in score_seeds(**arguments, seeds=SEEDS)] == list(SEEDS)


def test_old_records_were_trained_alone(arguments: dict[str, Any]) -> None:
    record = score(**arguments, seed=0)
    data = record.model_dump(exclude={"seeds_together"})
    assert ScoreRecord.model_validate(data).seeds_together == 1


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-9", range(10)), ("0,3,5", (0, 3, 5)), ("7", (7,)), ("4-5, 0, 2-2", (4, 5, 0, 2))],
)
def test_seeds_as_people_write_them(text: str, seeds: Sequence[int]) -> None:
    assert parse_seeds(text) == tuple(seeds)


@pytest.mark.parametrize(
    "text", ["", "a", "1,,2", "-1", "3-", "5-2", "1,2,1", "0-3,2", "0-1000000"]
)
def test_other_texts_are_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"^seeds ") as raised:
        parse_seeds(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": ()}, "seeds none: give at least one"),
        ({"seeds": (1, 1)}, "seeds 1,1: give at least one, and each only once"),
        ({"seeds": (0, -1)}, "seed -1: must not be below 0"),
        ({"seeds": (0, 1), "task": "ctc"}, "task ctc: nothing is trained, so it takes no seeds"),
    ],
)
def test_bad_seeds_are_one_line_before_any_work(
    arguments: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as raised:
        score_seeds(**(arguments | changes))
    assert message in str(raised.value)
    assert not arguments["output"].exists()
