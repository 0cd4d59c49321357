"""Encoders that come with the package are found by their name, wherever a model is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import s3prl_compress
from s3prl_compress.cli import main
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import fingerprint, load, random_encoder, save
from s3prl_compress.encoder.bundled import BUNDLED, bundled_folder
from s3prl_compress.pretraining.recipe import load_recipe
from s3prl_compress.suite.suite_file import UpstreamEntry
from s3prl_compress.suite.upstreams import make_upstream

REPOSITORY = Path(__file__).parents[2]


def test_the_name_loads_the_folder(
    bundled_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fingerprint(load(bundled_demo))
    assert bundled_folder("hubert_demo") == bundled_demo
    assert fingerprint(s3prl_compress.load("hubert_demo")) == expected
    entry = UpstreamEntry(name="demo", source="hubert_demo")
    assert fingerprint(make_upstream(entry, None, tmp_path, "cpu")[0]) == expected
    # A folder of that name in the working folder is what a path names.
    monkeypatch.chdir(tmp_path)
    other = random_encoder(load(bundled_demo).shape, seed=1)
    save(other, "hubert_demo")
    assert fingerprint(load("hubert_demo")) == fingerprint(other)


def test_it_is_scored_by_its_name(bundled_demo: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    quick = Path(__file__).parents[1] / "quick.yaml"
    record = s3prl_compress.score(
        "hubert_demo", "ks", data=tiny_corpus, output=tmp_path / "results", recipe=quick
    )
    assert record.upstream.name == "hubert_demo"
    assert record.upstream.checkpoint_sha256 == fingerprint(load(bundled_demo))


def test_the_command_line_knows_it(bundled_demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "hubert_demo", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert 5_200_000 < figures["parameters"] < 6_000_000
    assert main(["ls", "upstreams", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["upstreams"]]
    assert set(BUNDLED) < set(names)


def test_missing_weights_are_one_clear_line(
    no_bundled_demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="without its weights") as caught:
        load("hubert_demo")
    assert "\n" not in str(caught.value)
    assert str(no_bundled_demo) in str(caught.value)
    assert main(["inspect", "hubert_demo"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_name_has_a_recipe_and_a_place_in_s3prl(name: str) -> None:
    recipe = REPOSITORY / BUNDLED[name]
    assert recipe.is_file()
    folder = REPOSITORY / "upstreams" / name
    assert {"README.md", "expert.py", "hubconf.py"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_weights_are_small_and_learned(name: str) -> None:
    try:
        folder = bundled_folder(name)
    except InputError as error:
        pytest.skip(str(error))
    encoder = load(folder)
    assert not encoder.provenance.random_weights
    assert encoder.shape == load_recipe(REPOSITORY / BUNDLED["hubert_demo"]).model.shape()
    assert (encoder.head is not None) == name.endswith("_ctc")
    sizes = [file.stat().st_size for file in folder.iterdir() if file.is_file()]
    assert sum(sizes) <= 12_000_000
