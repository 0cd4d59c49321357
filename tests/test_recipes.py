"""Every recipe that is shipped can be loaded, and everything that it names exists."""

from __future__ import annotations

from pathlib import Path

import pytest
import s3prl_compress.recipes

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES
from s3prl_compress.evaluation import available_tasks, load_settings
from s3prl_compress.methods import available
from s3prl_compress.pretraining.recipe import load_recipe
from s3prl_compress.suite.suite_file import read_suite
from s3prl_compress.tasks.base.task import ENGINES, SHIPPED
from s3prl_compress.tasks.registry import find_task

FOLDER = Path(s3prl_compress.recipes.__file__).parent
FILES = sorted(FOLDER.rglob("*.yaml"))
SUITES = [path for path in FILES if path.parent == FOLDER]
OF_TASKS = [path for path in FILES if path.parent == FOLDER / "tasks"]
OF_TRAINING = [path for path in FILES if path.parent == FOLDER / "pretrain"]
OF_COMPRESSION = [path for path in FILES if path.parent == FOLDER / "compress"]
"""Their behaviour is tested in tests/cli/test_recipes.py."""


def test_every_recipe_is_looked_at() -> None:
    assert SUITES
    assert OF_TASKS
    assert OF_TRAINING
    assert OF_COMPRESSION
    assert set(FILES) == {*SUITES, *OF_TASKS, *OF_TRAINING, *OF_COMPRESSION}


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_suite(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("unlabelled_minilibri", "asr_minilibri_large"):
        (tmp_path / name).mkdir()
    (tmp_path / "train-clean-100").mkdir()
    monkeypatch.setenv("SPEECH_DATA", str(tmp_path))
    monkeypatch.setenv("LIBRISPEECH", str(tmp_path))
    suite = read_suite(path)
    for entry in suite.upstreams:
        assert entry.random is None or entry.random.shape in NAMED_SHAPES
        if entry.method is not None:
            available()[entry.method].config.model_validate(entry.settings)
    for task in suite.tasks:
        if not find_task(task.task).trains_head:
            continue
        for engine in task.engines:
            settings, _ = load_settings(task.task, task.recipe, engine)
            assert settings.total_steps >= settings.eval_step


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", OF_TASKS, ids=lambda path: path.stem)
def test_settings_of_a_task(path: Path, engine: str) -> None:
    task = path.stem.partition("_")[0]
    assert task in available_tasks()
    if engine == "s3prl" and "without_conv" in path.stem:
        with pytest.raises(InputError, match="first_state: 1: s3prl's head weighs all"):
            load_settings(task, path, engine)
        return
    for recipe in SHIPPED if path.stem in available_tasks() else [path]:
        settings, name = load_settings(task, recipe, engine)  # type: ignore[arg-type]
        assert settings.learning_rates
        assert name == (recipe if isinstance(recipe, str) else recipe.stem.partition("_")[2])


@pytest.mark.parametrize("path", OF_TRAINING, ids=lambda path: path.stem)
def test_pretraining(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.model.shape().frame_stride == 320


def test_the_demo_is_what_it_says() -> None:
    suite = read_suite(FOLDER / "demo.yaml")
    assert suite.output == "out/demo"
    assert sum(entry.method is not None for entry in suite.upstreams) >= 4
    assert {engine for task in suite.tasks for engine in task.engines} == set(ENGINES)
    assert suite.time is not None


@pytest.mark.parametrize("task", ["ks", "sid"])
def test_without_conv_differs_in_nothing_else(task: str) -> None:
    folder = FOLDER / "tasks"
    usual, _ = load_settings(task, folder / f"{task}_small.yaml", "onepass")
    without, _ = load_settings(task, folder / f"{task}_small_without_conv.yaml", "onepass")
    assert without == usual.model_copy(update={"first_state": 1})
