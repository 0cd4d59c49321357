from __future__ import annotations

import json
from pathlib import Path

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.results.environment import environment
from s3prl_compress.results.records import ScoreRecord, read_record, read_records

from ..support.made_up import a_board, score, upstream, write_all


def test_records_survive_the_disk(tmp_path: Path) -> None:
    records = a_board()
    write_all(tmp_path / "deep" / "below", records)
    (tmp_path / "theirs.json").write_text('{"a": 1}')
    assert [record for _, record in read_records(tmp_path)] == records


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('{"kind": "score", "task": ', "Expecting value"),
        ('{"kind": "score"}', "must be given"),
        ('{"kind": "time", "dtype": "int8"}', "must be given"),
    ],
)
def test_a_broken_record_is_named_with_its_fault(tmp_path: Path, broken: str, reason: str) -> None:
    write_all(tmp_path, [score(upstream("fine"), 90.0)])
    (tmp_path / "torn.json").write_text(broken)
    with pytest.raises(InputError, match=r"torn\.json") as caught:
        list(read_records(tmp_path))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fault_names_its_field(tmp_path: Path) -> None:
    data = json.loads(score(upstream("fine"), 90.0).model_dump_json())
    data["corpus"]["sizes"] = {"test": "many"}
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"corpus\.sizes\.test"):
        read_record(path)


@pytest.mark.parametrize(("rates", "choice"), [(0, None), (1, "given"), (2, "dev sweep")])
def test_a_record_from_before_engine_versions_and_rate_choices(
    tmp_path: Path, rates: int, choice: str | None
) -> None:
    data = json.loads(score(upstream("fine"), 90.0).model_dump_json())
    for later in ("rate_choice", "rate_record", "engine_version"):
        del data[later]
    del data["environment"]["tf32"]
    data["rates"] = data["rates"][:rates]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(data))
    record = read_record(path)
    assert isinstance(record, ScoreRecord)
    assert (record.rate_choice, record.rate_record) == (choice, None)
    assert record.engine_version == 1
    assert record.environment.tf32 is None


def test_the_environment_holds_the_command() -> None:
    where = environment("cpu")
    assert where.command
    assert where.packages["torch"] != "not installed"
    assert where.device == "cpu"
