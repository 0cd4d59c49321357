from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from s3prl_compress.cli import app as cli
from s3prl_compress.encoder import load, random_encoder
from s3prl_compress.pretraining import iteration
from s3prl_compress.pretraining.recipe import load_recipe
from s3prl_compress.training import pretrain as former

SHIPPED = sorted((Path(__file__).parents[2] / "recipes" / "pretrain").glob("*.yaml"))


def recipe(**changes: Any) -> dict[str, Any]:
    loop = {
        "steps": 8,
        "learning_rate": 2e-3,
        "warmup_steps": 2,
        "log_every": 2,
        "checkpoint_every": 4,
        "accumulation": 2,
    }
    model = {
        "conv_widths": [16] * 7,
        "hidden": 32,
        "layers": 2,
        "heads": 4,
        "ffn": 48,
        "position_kernel": 16,
        "position_groups": 4,
    }
    first = {"targets": {"kind": "mfcc", "clusters": 8, "restarts": 1}, "loop": loop}
    second = {
        "targets": {"kind": "hidden", "layer": 1, "clusters": 12, "restarts": 1},
        "start": "previous",
        "loop": loop,
    }
    return {
        "name": "toy",
        "model": model,
        "audio": {"crop_seconds": 0.5, "batch_seconds": 2, "validation_files": 2},
        "iterations": [first, second],
    } | changes


def write(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


def run(recipe_file: str, data: Path, output: Path) -> int:
    return cli.main(["pretrain", *options(recipe_file, data, output)])


def options(recipe_file: str, data: Path, output: Path) -> list[str]:
    return [recipe_file, "--data", str(data), "--output", str(output), "--device", "cpu"]


def mean(entries: list[dict[str, float]], name: str) -> float:
    return sum(entry[name] for entry in entries) / len(entries)


@pytest.fixture(scope="module")
def finished(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    assert run(write(folder / "toy.yaml", recipe()), tones, folder / "out") == 0
    return folder / "out"


def test_the_output_is_a_checkpoint_with_its_history(finished: Path) -> None:
    encoder = load(finished / "encoder")
    assert not encoder.provenance.random_weights
    assert "toy (hubert, 2 x 32, pre-trained on" in encoder.provenance.base
    figures = json.loads((finished / "encoder" / "pretraining.json").read_text())
    assert [entry["steps"] for entry in figures["iterations"]] == [8, 8]
    assert figures["iterations"][1]["validation"]["masked_loss"] > 0
    assert figures["recipe"]["iterations"][1]["targets"]["clusters"] == 12
    assert (finished / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_json_is_what_lies_in_the_output(
    finished: Path, tones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A complete run is resumed at its end, which trains nothing."""
    capsys.readouterr()
    file = str(finished.parent / "toy.yaml")
    assert cli.main(["pretrain", *options(file, tones, finished), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((finished / "pretraining.json").read_text())
    assert printed["output"] == str(finished / "encoder")


def test_the_former_module_warns_and_does_the_same(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    arguments = options(write(tmp_path / "bad.yaml", recipe(sed=1)), tones, tmp_path / "out")
    assert former.main(arguments) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: ")
    assert warning.endswith("use: s3prl-compress pretrain")
    assert cli.main(["pretrain", *arguments]) == 2
    assert capsys.readouterr().err.splitlines() == [error]
    assert not (tmp_path / "out").exists()


def test_a_killed_pretraining_ends_with_the_same_weights(
    finished: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "toy.yaml", recipe())
    draw = iteration.draw_masks
    for allowed in (5, 11, 14, 12):  # draws of masks, validation's too: in both iterations
        left = iter(range(allowed))

        def killed(*arguments: Any, left: Iterator[int] = left) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return draw(*arguments)

        monkeypatch.setattr(iteration, "draw_masks", killed)
        assert run(file, tones, tmp_path / "out") == 130
    assert (tmp_path / "out" / "iteration_2" / "state").is_dir()
    monkeypatch.setattr(iteration, "draw_masks", draw)
    assert run(file, tones, tmp_path / "out") == 0
    for part in ("iteration_1/encoder", "encoder"):
        expected = (finished / part / "model.safetensors").read_bytes()
        assert (tmp_path / "out" / part / "model.safetensors").read_bytes() == expected


def test_audio_that_changes_meanwhile_is_one_line(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = copytree(tones, tmp_path / "audio")
    path = sorted(audio.rglob("*.wav"))[0]

    original = iteration.train

    def changing(*arguments: Any, **options: Any) -> Any:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        return original(*arguments, **options)

    monkeypatch.setattr(iteration, "train", changing)
    assert run(write(tmp_path / "recipe.yaml", recipe()), audio, tmp_path / "out") == 2
    assert f"{path}: has changed while it was in use" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("encoder"))


def test_tones_are_learned(tones: Path, tmp_path: Path) -> None:
    content = recipe()
    first = content["iterations"][0]
    first["loop"] |= {"steps": 80, "accumulation": 1, "learning_rate": 5e-3}
    first["masks"] = {"start_probability": 0.1, "span": 3}  # less than a tone lasts
    content["iterations"] = [first]
    assert run(write(tmp_path / "toy.yaml", content), tones, tmp_path / "out") == 0
    state = json.loads((tmp_path / "out" / "iteration_1" / "state" / "state.json").read_text())
    assert mean(state["training"][-5:], "masked_loss") < (
        mean(state["training"][:5], "masked_loss") - 0.5
    )
    assert mean(state["training"][-5:], "accuracy") > mean(state["training"][:5], "accuracy")


def test_another_recipe_does_not_go_on_with_it(
    finished: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "iteration_1" / "targets.safetensors").read_bytes()
    assert run(write(tmp_path / "other.yaml", recipe(seed=1)), tones, finished) == 2
    assert "other settings or audio" in capsys.readouterr().err
    assert (finished / "iteration_1" / "targets.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sed": 1}, "sed: no such key; there are name, seed"),
        ({"iterations": []}, "iterations"),
        ({"iterations": recipe()["iterations"][1:]}, "the first iteration has no previous model"),
        ({"model": recipe()["model"] | {"heads": 5}}, "not divisible by heads"),
    ],
)
def test_bad_recipes_are_one_line(
    changes: dict[str, Any],
    message: str,
    tones: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(write(tmp_path / "bad.yaml", recipe(**changes)), tones, tmp_path / "out") == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "bad.yaml" in error
    assert message in error


def test_a_foreign_folder_is_not_written_over(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "encoder").mkdir(parents=True)
    (tmp_path / "out" / "encoder" / "thesis.txt").write_text("mine")
    assert run(write(tmp_path / "toy.yaml", recipe()), tones, tmp_path / "out") == 2
    assert "not a checkpoint of s3prl_compress" in capsys.readouterr().err


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    shape = load_recipe(path).model.shape()
    assert shape.frame_stride == 320
    parameters = sum(tensor.numel() for tensor in random_encoder(shape).parameters())
    assert parameters < 6_000_000  # 12 MB in float16


def test_former_names_in_a_recipe_are_the_same_run(
    finished: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `finished` left is resumed, not refused: nothing is trained again."""
    content = recipe()
    content["audio"]["hold"] = True
    for one in content["iterations"]:
        one["loop"] = one["loop"] | {"clip": 1.0}
    before = (finished / "iteration_2" / "state" / "state.json").stat().st_mtime_ns
    assert run(write(tmp_path / "toy.yaml", content), tones, finished) == 0
    assert (finished / "iteration_2" / "state" / "state.json").stat().st_mtime_ns == before
    err = capsys.readouterr().err
    assert err.count("warning: the setting clip is now called max_grad_norm") == 1
    assert err.count("warning: the setting hold is now called cache_in_memory") == 1

    content["audio"]["cache_in_memory"] = True
    assert run(write(tmp_path / "both.yaml", content), tones, tmp_path / "out") == 2
    assert "both.yaml: audio: hold is the former name of" in capsys.readouterr().err
