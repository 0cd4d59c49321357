"""A task is one folder: another package adds one, and no module of this package is edited."""

from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest

from s3prl_compress.cli import main
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.s3prl_bridge.downstream import Downstream
from s3prl_compress.tasks import registry
from s3prl_compress.tasks.base.own_head import OwnHead
from s3prl_compress.tasks.registry import available_tasks, find_task, prepare_corpus

from ..support.tables import write_table, write_tone
from . import example_task


@pytest.fixture(autouse=True)
def _no_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_failed", {})


@pytest.fixture
def other_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package whose entry point names the example."""
    install(monkeypatch, "voices", f"{example_task.__name__}:TASK")


def install(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    entry = metadata.EntryPoint(name, value, registry.ENTRY_POINT_GROUP)

    def entry_points(*, group: str) -> tuple[metadata.EntryPoint, ...]:
        return (entry,) if entry.group == group else ()

    monkeypatch.setattr(metadata, "entry_points", entry_points)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    rows = []
    for split, takes in (("train", 8), ("valid", 4), ("test", 4)):
        for number, label in ((6, "high"), (0, "low")):
            for take in range(takes):
                file = f"{split}-{label}-{take}.wav"
                write_tone(tmp_path / "table" / file, number, random)
                speaker = f"speaker {take}"
                rows.append({"file": file, "label": label, "speaker": speaker, "split": split})
    return write_table(tmp_path / "table", rows)


def test_another_package_adds_a_task_in_one_file(
    other_package: None, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "model")
    corpus, results = tmp_path / "corpus", tmp_path / "results"
    assert main(["prepare", "voices", str(table), "--output", str(corpus), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sizes"] == {"train": 16, "dev": 8, "test": 8}
    score = ["score", str(model), "--task", "voices", "--data", str(corpus)]
    assert main([*score, "--seeds", "0-1", "--output", str(results), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean"] > 60
    assert main([*score, "--engine", "s3prl", "--output", str(results)]) == 2
    assert "task voices: s3prl has no such downstream" in capsys.readouterr().err
    assert main(["report", str(results)]) == 0
    report = (results / "leaderboard.md").read_text(encoding="utf-8")
    assert "voices" in report
    capsys.readouterr()
    assert main(["ls", "tasks"]) == 0
    assert "High or low voices" in capsys.readouterr().out
    assert main(["prepare", "--help"]) == 0
    assert "voices" in capsys.readouterr().out


def test_a_suite_takes_it(
    other_package: None, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        f"output: {tmp_path / 'out'}\n"
        "upstreams: [{name: tiny, random: {shape: hubert_tiny}}]\n"
        f"tasks: [{{task: voices, data: {table}}}]\n",
        encoding="utf-8",
    )
    assert main(["run", str(suite), "--dry-run"]) == 0
    assert "voices tiny onepass seed 0" in capsys.readouterr().out


def test_every_built_in_task_is_complete() -> None:
    tasks = available_tasks()
    assert list(tasks) == ["ks", "sid", "er", "asr", "pr", "ic", "ctc", "whisper"]
    for name, task in tasks.items():
        assert task.name == name
        assert task is find_task(name)
        if not task.trains_head:
            assert isinstance(task.load_own_head(), OwnHead)
            continue
        assert callable(resolve_name(task.onepass))
        assert issubclass(resolve_name(task.downstream), Downstream)
        assert task.official is not None


def test_what_a_listing_shows_is_the_whole_declaration() -> None:
    for task in available_tasks().values():
        shown = task.figures()
        fields = {field.name for field in dataclasses.fields(task) if not field.kw_only}
        assert set(shown) == fields | {"unit", "higher_is_better"}
        assert json.loads(json.dumps(shown))["variants"] == list(task.variants)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("broken", "no.such.module:TASK", r"ModuleNotFoundError: No module named 'no'"),
        ("json", "json:dumps", r"ValueError: .* is no Task; name one as package.module:attribute"),
        ("other", f"{example_task.__name__}:TASK", "called other, its task voices"),
        ("ks", f"{example_task.__name__}:TASK", "the name ks is taken"),
    ],
)
def test_a_broken_package_does_not_take_ours_down(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    install(monkeypatch, name, value)
    with pytest.warns(UserWarning, match=f"task {name} of {value} is left out: .*{message}"):
        assert set(available_tasks()) == {"ks", "sid", "er", "asr", "pr", "ic", "ctc", "whisper"}
    assert find_task("ks").title == "Keyword spotting"
    if name != "ks":
        with pytest.raises(InputError, match=f"task {name}: not known .it failed to load: ") as why:
            find_task(name)
        assert "\n" not in str(why.value)


def test_a_task_without_a_demo_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"task ic: comes without a demo .*for ks, sid, er, asr, pr"
    ):
        prepare_corpus("ic", "demo", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_task_lists_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "dance", "table.csv", "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    names = "asr, ctc, er, ic, ks, pr, sid, whisper"
    assert error == f"error: task dance: not known; give one of {names}\n"
