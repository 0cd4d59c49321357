"""Suites: what they make, what they skip the second time, what a failing cell does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress.cli import app as cli
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import load
from s3prl_compress.results.records import ScoreRecord, read_records
from s3prl_compress.suite import FAILURES_FILE, run_suite, upstreams
from s3prl_compress.suite.suite_file import UpstreamEntry, find_suite, read_suite

QUICK = Path(__file__).parent.parent / "quick.yaml"


def small(corpus: Path, output: Path) -> dict[str, Any]:
    return {
        "output": str(output),
        "upstreams": [
            {"name": "tiny", "random": {"shape": "hubert_tiny"}},
            {
                "name": "tiny.channels20",
                "from": "tiny",
                "method": "magnitude",
                "settings": {"sparsity": 0.2},
            },
        ],
        "tasks": [{"task": "ks", "data": str(corpus), "recipe": str(QUICK)}],
        "seeds": [0, 1],
        "time": {"against": "tiny", "repeats": 3, "warmup": 0, "utterances_per_bucket": 1},
        "device": "cpu",
        "threads": 1,
    }


def write(content: dict[str, Any], folder: Path) -> Path:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def files(folder: Path) -> dict[Path, int]:
    found = [path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors")]
    return {path: path.stat().st_mtime_ns for path in found}


def test_a_suite_runs_once_and_then_goes_on(
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    output = tmp_path / "out"
    path = write(small(tiny_corpus, output), tmp_path)
    assert cli.main(["run", str(path)]) == 0
    captured = capsys.readouterr()
    assert "[1/7] upstream tiny" in captured.err
    assert "[7/7] time tiny.channels20" in captured.err
    assert f"open: {output / 'leaderboard.html'}" in captured.out
    assert "random" in captured.out
    records = [record for _, record in read_records(output / "records")]
    assert [record.kind for record in records].count("score") == 4
    assert [record.kind for record in records].count("time") == 1
    table = (output / "leaderboard.csv").read_text()
    assert "tiny.channels20" in table
    before = files(output)

    request.getfixturevalue("in_process")
    assert cli.main(["run", str(path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["cells"] == answer["done_before"] == 7
    assert answer["failed"] == []
    assert files(output) == before

    # Only what a change concerns is made again.
    changed = small(tiny_corpus, output)
    changed["upstreams"][1]["settings"]["sparsity"] = 0.3
    assert run_suite(write(changed, tmp_path)).data["done_before"] == 3


def test_seeds_are_trained_together_and_only_the_missing_ones(
    tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], in_process: None
) -> None:
    output = tmp_path / "out"
    content = small(tiny_corpus, output)
    del content["time"], content["upstreams"][1]
    content["seeds"] = list(range(5))
    path = write(content, tmp_path)
    only = "ks tiny onepass seed 1, ks tiny onepass seed 3"
    assert run_suite(path, only=only).data["cells"] == 3
    capsys.readouterr()
    answer = run_suite(path)
    assert (answer.exit_code, answer.data["done_before"]) == (0, 3)
    printed = capsys.readouterr().err
    assert "[2/6] ks tiny onepass seed 0\n[3/6] ks tiny onepass seed 1\n" in printed
    assert re.search(r"seed 0: \d+\.\d ± \d+\.\d \(", printed)
    assert re.search(r"seed 1: \d+\.\d ± \d+\.\d, skipped: already complete \(", printed)
    records = [record for _, record in read_records(output / "records")]
    together = {r.seed: r.seeds_together for r in records if isinstance(r, ScoreRecord)}
    assert together == {0: 3, 1: 2, 2: 3, 3: 2, 4: 3}


def test_what_fails_with_all_seeds_is_done_again_seed_by_seed(
    tiny_corpus: Path, tmp_path: Path, in_process: None
) -> None:
    """A seed that cannot be scored takes no other seed with it."""
    content = small(tiny_corpus, tmp_path / "out")
    del content["time"], content["upstreams"][1]
    content["seeds"] = [0, -1, 2]
    answer = run_suite(write(content, tmp_path))
    assert answer.exit_code == 1
    (failed,) = answer.data["failed"]
    assert failed["cell"] == "ks tiny onepass seed -1"
    assert "seed -1: must not be below 0" in failed["reason"]
    records = [record for _, record in read_records(tmp_path / "out" / "records")]
    assert {r.seed for r in records if isinstance(r, ScoreRecord)} == {0, 2}


def test_a_failing_cell_does_not_stop_the_others(
    tiny_corpus: Path, tmp_path: Path, in_process: None
) -> None:
    output = tmp_path / "out"
    content = small(tiny_corpus, output)
    content["seeds"] = [0]
    content["upstreams"][1]["settings"] = {"sparsity": 0.999}
    content["upstreams"] += [
        {"name": "deeper", "from": "tiny.channels20", "method": "low_rank"},
    ]
    answer = run_suite(write(content, tmp_path))
    assert answer.exit_code == 1
    failed = {failure["cell"]: failure["reason"] for failure in answer.data["failed"]}
    assert len(failed) == 6
    assert "0.999" in failed["upstream tiny.channels20"]
    assert "tiny.channels20 could not be made" in failed["upstream deeper"]
    assert len(list((output / "records").glob("*.json"))) == 1
    assert (output / "leaderboard.html").is_file()
    assert "Traceback" in (output / FAILURES_FILE).read_text()

    content["upstreams"] = content["upstreams"][:1]
    assert run_suite(write(content, tmp_path)).exit_code == 0
    assert not (output / FAILURES_FILE).exists()


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ({"random": {"shape": "huge"}}, "upstream a: no shape 'huge'; there are: "),
        ({"from": "tiny", "method": "magic"}, "upstream a: no method 'magic'; there are: "),
        (
            {"from": "tiny", "method": "magnitude", "settings": {"sparsity": 2}},
            "upstream a: method magnitude: sparsity: must be less than 1; got 2",
        ),
    ],
)
def test_mistakes_are_found_before_any_work(
    upstream: dict[str, Any], words: str, tiny_corpus: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    content = small(tiny_corpus, output)
    del content["time"]
    content["upstreams"][1:] = [{"name": "a", **upstream}]
    path = write(content, tmp_path)
    for dry_run in (True, False):
        with pytest.raises(InputError, match=re.escape(words)):
            run_suite(path, dry_run=dry_run)
    assert not output.exists()
    assert run_suite(path, dry_run=True, only="upstream tiny").exit_code == 0


def test_what_to_look_at_next_is_there(tiny_corpus: Path, tmp_path: Path, in_process: None) -> None:
    path = write(small(tiny_corpus, tmp_path / "out"), tmp_path)
    answer = run_suite(path, only="upstream tiny")
    assert answer.exit_code == 0
    (hint,) = [hint for hint in answer.next_steps if "inspect" in hint]
    assert load(hint.rpartition(" ")[2]).shape.hidden


def test_no_threads_are_refused(tiny_corpus: Path, tmp_path: Path) -> None:
    path = write(small(tiny_corpus, tmp_path / "out"), tmp_path)
    with pytest.raises(InputError, match="threads 0: must be from 1"):
        run_suite(path, threads=0)
    assert not (tmp_path / "out").exists()


def test_a_changed_checkpoint_is_made_again(tmp_path: Path) -> None:
    drawn = UpstreamEntry.model_validate({"name": "a", "random": {"shape": "hubert_tiny"}})
    other = UpstreamEntry.model_validate(
        {"name": "a", "random": {"shape": "hubert_tiny", "seed": 1}}
    )
    encoder, kept = upstreams.make_upstream(drawn, None, tmp_path, "cpu")
    assert not kept
    assert upstreams.make_upstream(drawn, None, tmp_path, "cpu")[1]
    weights = tmp_path / "a" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    assert not upstreams.make_upstream(drawn, None, tmp_path, "cpu")[1]
    again = load(tmp_path / "a").state_dict()
    assert all((again[name] == tensor).all() for name, tensor in encoder.state_dict().items())
    assert not upstreams.make_upstream(other, None, tmp_path, "cpu")[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": [0]}, "seed: no such key; there are output, upstreams"),
        ({"upstreams": []}, "upstreams"),
        ({"upstreams": 3}, "upstreams: must be a list"),
        ({"upstreams": [3]}, "upstreams.0: must hold `key: value` lines"),
        ({"upstreams": [{"name": "a"}]}, "upstreams.0: give exactly one of source, random, from"),
        ({"upstreams": [{"name": "a", "sauce": "b"}]}, "upstreams.0.sauce: no such key"),
        ({"upstreams": [{"name": "a/b", "source": "b"}]}, "upstreams.0.name"),
        (
            {"upstreams": [{"name": "a", "from": "b", "method": "c"}]},
            "no earlier upstream is named b",
        ),
        ({"upstreams": [{"name": "a", "source": "b", "method": "c"}]}, "need each other"),
        ({"time": {"against": "huge"}}, "there is no upstream huge"),
        ({"time": {"repeats": 1}}, "time.repeats"),
        ({"tasks": [{"task": "ks", "data": "x", "engines": ["twopass"]}]}, "tasks.0.engines.0"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = write(small(tmp_path, tmp_path / "out") | change, tmp_path)
    with pytest.raises(InputError, match=r"suite\.yaml") as raised:
        read_suite(path)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_mistakes_in_a_tasks_recipe_come_before_any_work(tmp_path: Path) -> None:
    content = small(tmp_path, tmp_path / "out")
    content["tasks"][0]["recipe"] = "nowhere.yaml"
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        run_suite(write(content, tmp_path))
    content["tasks"][0] |= {"recipe": "smoke", "task": "singing"}
    with pytest.raises(InputError, match="singing"):
        run_suite(write(content, tmp_path))
    assert not (tmp_path / "out").exists()


def test_packaged_suites_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_suite("demo") == find_suite("recipes/demo.yaml")
    assert find_suite("demo").is_file()
    with pytest.raises(InputError, match="demo"):
        find_suite("dema")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"broken\.yaml: not YAML"):
        read_suite(tmp_path / "broken.yaml")
