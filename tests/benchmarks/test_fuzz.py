"""The fuzzer: its originals are valid, its inputs follow from the seed, and failures are kept."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return importlib.import_module("fuzz")


@pytest.fixture
def inputs(fuzz: Any) -> Any:
    return importlib.import_module("fuzz_inputs")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(FOLDER))
    try:
        folder = tmp_path_factory.mktemp("fuzz") / "originals"
        importlib.import_module("fuzz_originals").write_originals(folder)
    finally:
        sys.path.remove(str(FOLDER))
    return folder


def test_originals_are_accepted(inputs: Any, originals: Path, tmp_path: Path) -> None:
    for name, target in inputs.TARGETS.items():
        for original in target.originals:
            folder = shutil.copytree(originals / original, tmp_path / f"{name} {original}")
            assert target.read(folder) is not None


def test_code_in_a_pickle_that_runs_is_noticed(inputs: Any, tmp_path: Path) -> None:
    mutations = importlib.import_module("fuzz_mutations")
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "model.pt").write_bytes(pickle.dumps(mutations._Call()))

    def read(folder: Path) -> object:
        return pickle.loads((folder / "model.pt").read_bytes())

    target = inputs.Target(("original",), ("model.pt",), lambda data, random: data, read)
    inputs.TARGETS["unsafe"] = target
    try:
        outcome = inputs.read_input("unsafe", tmp_path, tmp_path / "input", "0")
    finally:
        del inputs.TARGETS["unsafe"]
    assert (outcome.kind, outcome.failed) == ("ran a pickle", True)
    assert not inputs.PICKLE_RAN.exists()


@pytest.mark.filterwarnings("ignore")
def test_inputs_are_accepted_or_refused_in_one_line(
    fuzz: Any, inputs: Any, originals: Path, tmp_path: Path
) -> None:
    kinds = set()
    for name in inputs.TARGETS:
        for number in range(10):
            folder = tmp_path / f"{name} {number}"
            outcome = fuzz.read_input(name, originals, folder, f"0 {name} {number}")
            assert not outcome.failed, outcome.message
            kinds.add(outcome.kind)
    assert kinds == {"accepted", "refused"}


def test_a_seed_gives_the_same_input(inputs: Any, originals: Path, tmp_path: Path) -> None:
    def content(seed: str, folder: Path) -> dict[str, bytes]:
        inputs.TARGETS["config"].write(originals, folder, inputs.Random(seed))
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    first = content("a", tmp_path / "1")
    assert content("a", tmp_path / "2") == first
    assert content("b", tmp_path / "3") != first


def _misbehave(target: str, originals: Path, folder: Path, seed: str) -> Any:
    """Stand in for `read_input`, in a child process: fail as the name of the target says."""
    if target == "crash":
        os._exit(3)
    if target == "hang":
        time.sleep(60)
    from fuzz_child import Outcome  # type: ignore[import-not-found]

    try:
        bytearray(4 << 30)
    except MemoryError:
        return Outcome("MemoryError")
    return Outcome("accepted")


def test_a_child_that_fails_is_replaced(
    fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = importlib.import_module("fuzz_child")
    monkeypatch.setattr(processes, "SECONDS", 0.5)
    child = processes.Child(tmp_path, _misbehave)
    try:
        for target, kind in (("crash", "crash"), ("hang", "hang"), ("memory", "MemoryError")):
            outcome = child.read(target, tmp_path / "input", "0")
            assert (outcome.kind, outcome.failed) == (kind, True)
    finally:
        child.stop()


def test_the_table_and_the_inputs_that_failed(
    fuzz: Any,
    inputs: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read(child: Any, target: str, folder: Path, seed: str) -> Any:
        folder.mkdir()
        (folder / "config.json").write_text(seed)
        kinds = {"0 config 1": "KeyError", "0 pt 0": "refused"}
        return inputs.Outcome(kinds.get(seed, "accepted"), "message", 0.25, 3 << 20)

    monkeypatch.setattr(fuzz.Child, "read", read)
    kept, output = tmp_path / "kept", tmp_path / "figures.json"
    arguments = ["--inputs", "4", "--target", "config", "pt"]
    arguments += ["--failures", str(kept), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["fuzz.py", *arguments])
    assert fuzz.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert "| config | 2 | 1 | 0 | 1 KeyError | 0.25 | 3 |" in lines
    assert "| pt | 2 | 1 | 1 | none | 0.25 | 3 |" in lines
    assert "| all | 4 | 2 | 1 | 1 KeyError | 0.25 | 3 |" in lines
    assert [path.name for path in kept.iterdir()] == ["0_config_1"]
    assert (kept / "0_config_1" / "config.json").read_text() == "0 config 1"
    assert (kept / "0_config_1" / "failure.txt").read_text() == "KeyError\nmessage\n"
    figures = json.loads(output.read_text())["figures"]
    assert figures["config"]["outcomes"] == {"accepted": 1, "KeyError": 1}
