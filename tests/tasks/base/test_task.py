from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.base.task import ENGINES, SHIPPED
from s3prl_compress.tasks.registry import available_tasks, find_task, load_settings

GOOD: dict[str, Any] = {
    "total_steps": 10,
    "batch_size": 4,
    "eval_step": 5,
    "learning_rates": [0.1],
}


def recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    "task", [name for name, task in available_tasks().items() if task.trains_head]
)
def test_shipped_recipes_load_for_every_engine(task: str, name: str) -> None:
    for engine in ENGINES:
        settings, given = load_settings(task, name, engine)
        assert given == name
        assert settings.projector_dim == 256
        assert settings.gradient_clipping == 1


def test_a_task_that_trains_no_head_takes_no_recipe() -> None:
    with pytest.raises(InputError, match="task ctc: trains no head, so it takes no recipe"):
        load_settings("ctc", "smoke", "onepass")
    with pytest.raises(ValueError, match="task ctc: give either onepass or own_head"):
        dataclasses.replace(find_task("ctc"), onepass="a.module:run_seeds")


def test_official_is_what_superb_prescribes() -> None:
    onepass, _ = load_settings("ks", "official", "onepass")
    assert (onepass.total_steps, onepass.batch_size, onepass.eval_step) == (200_000, 32, 5000)
    assert onepass.learning_rates == pytest.approx([10.0**-power for power in range(1, 8)])
    assert (onepass.padding, onepass.crops_per_file) == ("independent", 512)
    s3prl, _ = load_settings("ks", "official", "s3prl")
    assert (s3prl.rate_from, onepass.rate_from) == ("onepass", None)
    assert s3prl.padding == "fairseq"


def test_smoke_has_one_padding_for_both_engines() -> None:
    assert {load_settings("ks", "smoke", engine)[0].padding for engine in ENGINES} == {
        "independent"
    }


def test_a_file_holds_the_settings_and_overrides_per_engine(tmp_path: Path) -> None:
    path = recipe(tmp_path, engines={"s3prl": {"batch_size": 2}})
    assert load_settings("ks", path, "onepass")[0].batch_size == 4
    assert load_settings("ks", str(path), "s3prl")[0].batch_size == 2
    assert load_settings("ks", path, "s3prl")[1] == "mine"


def test_a_file_that_extends_needs_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "longer.yaml"
    path.write_text("extends: official\ntotal_steps: 400000\n", encoding="utf-8")
    settings, name = load_settings("ks", path, "onepass")
    assert (settings.total_steps, settings.eval_step, name) == (400_000, 5000, "longer")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 3}, "batch: no such key; there are total_steps, "),
        ({"batch_size": 0}, "batch_size: "),
        ({"batch_size": "many"}, "batch_size: "),
        ({"learning_rates": []}, "learning_rates: "),
        ({"learning_rates": [0.1, 0.1]}, "learning_rates holds one rate twice"),
        ({"learning_rates": [-0.1]}, "learning_rates must be above 0"),
        ({"learning_rates": [float("nan")]}, "learning_rates.0: "),
        ({"eval_step": 11}, "eval_step 11 is more than total_steps 10"),
        ({"padding": "none"}, "padding: "),
        ({"optimizer": "SGD"}, "optimizer: "),
        ({"smoke": {}}, "smoke: a recipe file holds the settings themselves"),
        ({"extends": "demo"}, "extends: demo"),
        ({"engines": {"third": {}}}, "engines: "),
        ({"engines": {"onepass": [1]}}, "engines: onepass: "),
    ],
)
def test_a_wrong_key_is_one_line_with_file_and_key(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = recipe(tmp_path, **changes)
    with pytest.raises(InputError) as raised:
        load_settings("ks", path, "onepass")
    text = str(raised.value)
    assert message in text
    assert str(path) in text
    assert "\n" not in text


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [1\n", "", b"\xff\xfe"])
def test_a_file_that_is_no_recipe_is_one_line(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=r"broken\.yaml: ") as raised:
        load_settings("ks", path, "onepass")
    assert "\n" not in str(raised.value)


def test_unknown_names_say_which_there_are(tmp_path: Path) -> None:
    known = ", ".join(sorted(available_tasks()))
    with pytest.raises(InputError, match=f"task whistling: not known; give one of {known}"):
        find_task("whistling")
    with pytest.raises(
        InputError, match=r"nothing\.yaml: cannot be read .*; give smoke, official or a YAML file"
    ):
        load_settings("ks", tmp_path / "nothing.yaml", "onepass")
    with pytest.raises(InputError, match="engine third: not known"):
        load_settings("ks", "smoke", "third")  # type: ignore[arg-type]
    (tmp_path / "official.yaml").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="must not be called official"):
        load_settings("ks", tmp_path / "official.yaml", "onepass")


def test_identity_leaves_out_what_cannot_change_a_result(tmp_path: Path) -> None:
    first, _ = load_settings("ks", recipe(tmp_path), "onepass")
    second, _ = load_settings("ks", recipe(tmp_path, seconds_per_batch=8), "onepass")
    third, _ = load_settings("ks", recipe(tmp_path, projector_dim=3), "onepass")
    assert first.identity() == second.identity()
    assert first.identity() != third.identity()


def test_a_recipe_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "ks_quick.yaml"
    path.write_text("name: quick\nextends: smoke\ntotal_steps: 100\n", encoding="utf-8")
    settings, name = load_settings("ks", path, "onepass")
    assert (settings.total_steps, name) == (100, "quick")
    path.write_text("name: official\nextends: smoke\n", encoding="utf-8")
    with pytest.raises(InputError, match="must not be called official"):
        load_settings("ks", path, "onepass")
