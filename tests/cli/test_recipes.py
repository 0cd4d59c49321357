"""`compress --recipe`: every packaged recipe does what it says, in a few steps on random weights.

The papers' recipes on models of the true size take minutes and gigabytes:

    TRUE_SIZE=1 python -m pytest tests/cli/test_recipes.py -k true_size
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import s3prl_compress.recipes

from s3prl_compress import whisper
from s3prl_compress.cli import app as cli
from s3prl_compress.cli.compression_recipes import read_recipe
from s3prl_compress.encoder import load, save
from s3prl_compress.methods import available, check_settings

from ..support.letters import write_letters
from ..support.small import small_paper_model
from ..whisper.small import features, small_folder

FOLDER = Path(s3prl_compress.recipes.__file__).parent / "compress"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
OF_WHISPER = [name for name in NAMES if "whisper" in name]
OF_ENCODERS = [name for name in NAMES if name not in OF_WHISPER]
FEW = {
    **{"steps": "2", "final-steps": "1", "factor-steps": "1", "batch-seconds": "3"},
    **{"crop-seconds": "1", "accumulation": "1", "log-every": "1", "checkpoint-every": "1"},
    **{"workers": "0", "precision": "no"},
}
SHAPES = {
    "structured_hubert_base": "hubert_base",
    "self_pinching_wav2vec2_base": "wav2vec2_base",
}


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(small_paper_model("hubert_base"), tmp_path_factory.mktemp("recipes") / "small")


@pytest.fixture(scope="module")
def models(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models of the architectures that the recipes' names end in."""
    folder = tmp_path_factory.mktemp("models")
    fine_tuned = ("hubert_large", "wav2vec2_base")
    return {name: save(small_paper_model(name), folder / name) for name in fine_tuned} | {
        "": checkpoint
    }


def model_for(recipe: str, models: dict[str, Path]) -> Path:
    return next(path for name, path in models.items() if recipe.endswith(name))


def few_steps(recipe: str, letters: Path) -> list[str]:
    """Return the options that scale a recipe down, of those that its methods have."""
    steps = read_recipe(FOLDER / f"{recipe}.yaml").steps()
    known = {name for step in steps for name in available()[step.method].config.model_fields}
    options = ["--recipe", recipe, "--audio", str(letters), "--device", "cpu", "--threads", "1"]
    for name, value in FEW.items():
        if name.replace("-", "_") in known:
            options += [f"--{name}", value]
    return options


def compress(
    capsys: pytest.CaptureFixture[str], model: Path, recipe: str, letters: Path, *more: str
) -> dict[str, Any]:
    capsys.readouterr()
    options = ["compress", str(model), *few_steps(recipe, letters), *more, "--json"]
    assert cli.main(options) == 0
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert cli.main(["compress", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_valid(name: str, letters: Path) -> None:
    path = FOLDER / f"{name}.yaml"
    for step in read_recipe(path).steps():
        if name in OF_WHISPER:
            whisper.check_settings(step.method, step.settings)
            continue
        own = {"audio": letters, "teacher": "the given one"}
        known = available()[step.method].config.model_fields
        settings = {key: value for key, value in own.items() if key in known}
        check_settings(step.method, step.settings | settings)
    text = path.read_text(encoding="utf-8")
    assert f"--recipe {name}" in text
    assert "# Data: " in text


@pytest.mark.parametrize("name", OF_ENCODERS)
def test_a_recipe_runs_a_few_steps(
    name: str,
    models: dict[str, Path],
    letters: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = model_for(name, models)
    answer = compress(capsys, model, name, letters, "--output", str(tmp_path / "out"))
    recipe = read_recipe(FOLDER / f"{name}.yaml")
    done = [answer["method"], *(step["method"] for step in answer["then"])]
    assert done == [step.method for step in recipe.steps()]
    sparsity = recipe.settings.get("sparsity", 0)
    kept = answer["nonzero_parameters"] / answer["before"]["nonzero_parameters"]
    assert kept == pytest.approx(1 - sparsity, abs=0.01)
    if recipe.settings.get("objective") == "ctc" or "ctc" in done:
        head, before = load(tmp_path / "out").head, load(model).head
        assert head is not None
        assert before is None or head.vocabulary == before.vocabulary


@pytest.mark.parametrize("name", OF_WHISPER)
def test_a_recipe_for_whisper_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_folder(tmp_path / "dense", encoder_layers=3)
    output = tmp_path / "out"
    command = ["compress", str(model), "--recipe", name, "--output", str(output), "--json"]
    assert cli.main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    recipe = read_recipe(FOLDER / f"{name}.yaml")
    assert answer["method"] == recipe.method
    reached = answer["sparsity"]["all_parameters"]
    assert reached == pytest.approx(recipe.settings["sparsity"], abs=0.01)
    smaller = whisper.load(output)
    text = smaller.model.generate(features(), max_new_tokens=4)
    assert text.shape[0] == 1


@pytest.mark.skipif("TRUE_SIZE" not in os.environ, reason="TRUE_SIZE is not set: takes minutes")
@pytest.mark.parametrize("name", SHAPES)
def test_a_recipe_at_the_true_size(
    name: str, letters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = tmp_path / "dense"
    assert cli.main(["random", SHAPES[name], "--output", str(dense)]) == 0
    answer = compress(capsys, dense, name, letters, "--output", str(tmp_path / "out"))
    wanted = {"structured_hubert_base": 26.5e6, "self_pinching_wav2vec2_base": 0.35 * 94_371_712}
    assert answer["parameters"] == pytest.approx(wanted[name], rel=0.002)


def test_options_count_before_the_recipe(
    checkpoint: Path, letters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "method: clustering\nsettings: {sparsity: 0.3, seed: 1}\n"
        "then:\n  - {method: distill, settings: {steps: 9, learning_rate: 1.0e-3, seed: 1}}\n"
    )
    few = [name for name in FEW if name not in ("final-steps", "factor-steps")]
    options = [part for name in few for part in (f"--{name}", FEW[name])]
    command = ["compress", str(checkpoint), "--recipe", str(file), "--audio", str(letters)]
    command += [*options, "--sparsity", "0.2", "--seed", "3", "--output", str(tmp_path / "out")]
    assert cli.main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (then,) = answer["then"]
    assert answer["settings"]["sparsity"] == 0.2
    assert answer["settings"]["seed"] == then["settings"]["seed"] == 3
    assert then["settings"]["steps"] == 2
    assert then["settings"]["learning_rate"] == 1e-3


def structured(checkpoint: Path, letters: Path, output: Path, *more: str) -> list[str]:
    few = [name for name in FEW if name != "factor-steps"]
    options = [part for name in few for part in (f"--{name}", FEW[name])]
    command = ["compress", str(checkpoint), "--audio", str(letters), "--output", str(output)]
    return [*command, *options, "--sparsity", "0.3", *more]


def test_former_names_of_settings_work_with_one_line_each(
    checkpoint: Path, letters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("method: structured\nsettings: {gate_init_spread: 9.0, ramp: 0.5}\n")
    command = structured(checkpoint, letters, tmp_path / "out", "--recipe", str(file), "--json")
    assert cli.main([*command, "--spread", "1.5", "--clip", "2"]) == 0
    captured = capsys.readouterr()
    settings = json.loads(captured.out)["settings"]
    assert settings["gate_init_spread"] == 1.5  # the typed one counts before the recipe's
    assert (settings["max_grad_norm"], settings["sparsity_ramp_fraction"]) == (2.0, 0.5)
    lines = [line for line in captured.err.splitlines() if line.startswith("warning: ")]
    assert sorted(line.split(" is now")[0] for line in lines) == [
        "warning: the setting clip",
        "warning: the setting ramp",
        "warning: the setting spread",
    ]


def test_both_names_of_a_setting_are_one_line(
    checkpoint: Path, letters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--method", "structured", "--spread", "1", "--gate-init-spread", "1"]
    line = complaint(capsys, *structured(checkpoint, letters, tmp_path / "out", *more)[1:])
    assert line.endswith(
        "spread is the former name of gate_init_spread: give gate_init_spread only"
    )
    assert not (tmp_path / "out").exists()


def test_former_names_are_accepted_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compress", "--method", "structured", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--gate-init-spread" in out
    assert "--spread" not in out
    assert "--hold" not in out


def test_help_with_a_recipe_shows_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compress", "--recipe=clustering_hubert_large", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--allocation" in out
    assert "--epochs" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method: [", "not YAML"),
        ("- method", "must hold `key: value` lines"),
        ("settings: {}", "method: must be given"),
        ("method: clustering\nsparsity: 0.3", "sparsity: no such key; there are .*then"),
        ("method: clustering\nthen: [{methd: ctc}]", r"then\.0\.methd: no such"),
        ("method: clusterin", "no method 'clusterin'"),
        ("method: clustering\nsettings: {sparsty: 1}", "sparsty: no such setting"),
        ("method: clustering\nsettings: {sparsity: 2}", "sparsity: must be less than 1; got 2"),
    ],
)
def test_a_wrong_recipe_is_one_line(
    text: str, said: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    line = complaint(capsys, checkpoint, "--recipe", file, "--output", tmp_path / "out")
    assert re.search(said, line), line
    assert not (tmp_path / "out").exists()


def test_what_to_do_is_said_once(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--output", tmp_path / "out")
    assert "--method NAME" in complaint(capsys, checkpoint, *out)
    both = ("--method", "clustering", "--recipe", NAMES[0])
    assert "either --recipe or --method" in complaint(capsys, checkpoint, *both, *out)
    line = complaint(capsys, checkpoint, "--recipe", "nowhere", *out)
    assert all(name in line for name in NAMES)
