from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, fingerprint, load, random_encoder, save
from s3prl_compress.methods import registry
from s3prl_compress.suite.suite_file import UpstreamEntry, find_suite, read_suite
from s3prl_compress.suite.upstreams import load_upstream, make_upstream, upstream_spec


def entry(**changes: object) -> UpstreamEntry:
    values = {"name": "small", "from": "base", "method": "clustering"}
    return UpstreamEntry.model_validate(values | changes)


def test_an_upstream_stored_as_float16_is_what_later_cells_find(tmp_path: Path) -> None:
    base = random_encoder(NAMED_SHAPES["hubert_tiny"])
    asked = entry(stored_as="float16", settings={"sparsity": 0.2})
    made, before = make_upstream(asked, base, tmp_path, "cpu")
    assert not before
    assert fingerprint(made) == fingerprint(load(tmp_path / "small"))
    again, before = make_upstream(asked, base, tmp_path, "cpu")
    assert before
    assert fingerprint(again) == fingerprint(made)
    full, before = make_upstream(entry(settings={"sparsity": 0.2}), base, tmp_path, "cpu")
    assert not before
    assert fingerprint(full) != fingerprint(made)


def test_what_an_older_version_of_the_method_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = random_encoder(NAMED_SHAPES["hubert_tiny"])
    asked = entry(settings={"sparsity": 0.2})
    made, _ = make_upstream(asked, base, tmp_path, "cpu")
    # What was made before there were versions is still good where the method is the same.
    assert "method_version" not in upstream_spec(asked, "sha")

    newer = replace(registry.available()["clustering"], version=2)
    monkeypatch.setitem(registry._methods, "clustering", newer)
    assert upstream_spec(asked, "sha")["method_version"] == 2
    again, before = make_upstream(asked, base, tmp_path, "cpu")
    assert not before
    assert [step.method_version for step in made.provenance.steps] == [1]
    assert [step.method_version for step in again.provenance.steps] == [2]
    _, before = make_upstream(asked, base, tmp_path, "cpu")
    assert before


def test_audio_counts_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    recipes = []
    for place in ("here", "there"):
        folder = tmp_path / place / "speech"
        folder.mkdir(parents=True)
        soundfile.write(folder / "a.wav", np.zeros(16_000), 16_000)
        settings = {"audio": str(folder), "sparsity": 0.5}
        recipes.append(upstream_spec(entry(method="structured", settings=settings), "sha"))
    assert recipes[0] == recipes[1]
    soundfile.write(tmp_path / "there" / "speech" / "b.wav", np.zeros(16_000), 16_000)
    assert upstream_spec(entry(method="structured", settings=settings), "sha") != recipes[0]


def test_a_source_can_be_told_whether_to_normalise(tmp_path: Path) -> None:
    folder = save(random_encoder(NAMED_SHAPES["hubert_tiny"], normalize=True), tmp_path / "base")
    asked = UpstreamEntry(name="base", source=str(folder), normalize=False)
    made, _ = make_upstream(asked, None, tmp_path / "out", "cpu")
    assert made.normalize is False
    assert fingerprint(load_upstream(asked, tmp_path / "out")) == fingerprint(made)
    assert fingerprint(load(folder)) != fingerprint(made)
    smaller, _ = make_upstream(entry(settings={"sparsity": 0.2}), made, tmp_path / "out", "cpu")
    assert smaller.normalize is False
    with pytest.raises(ValueError, match="normalize needs source"):
        entry(normalize=False)


def test_the_leaderboards_input_in_the_packaged_recipe() -> None:
    suite = read_suite(find_suite("superb"))
    (dense,) = [entry for entry in suite.upstreams if entry.source is not None]
    assert (dense.source, dense.normalize) == ("facebook/hubert-base-ls960", False)


def test_environment_variables_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "output: out\n"
        "upstreams: [{name: base, random: {shape: hubert_tiny}}]\n"
        "tasks: [{task: ks, data: '${PLACE_OF_SPEECH}/ks/metadata.csv'}]\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PLACE_OF_SPEECH", "corpora")
    assert read_suite(path).tasks[0].data == "corpora/ks/metadata.csv"
    monkeypatch.delenv("PLACE_OF_SPEECH")
    with pytest.raises(InputError, match="PLACE_OF_SPEECH is not set") as raised:
        read_suite(path)
    assert "\n" not in str(raised.value)


def test_names_that_are_too_long_for_folders_are_refused() -> None:
    assert entry(name="x" * 100).name == "x" * 100
    with pytest.raises(ValueError, match="at most 100 characters"):
        entry(name="x" * 101)


def test_a_random_upstream_is_made_again_in_another_type(tmp_path: Path) -> None:
    values = {"name": "small", "random": {"shape": "hubert_tiny"}}
    for stored_as in ("float32", "float16"):
        asked = UpstreamEntry.model_validate(values | {"stored_as": stored_as})
        made, before = make_upstream(asked, None, tmp_path, "cpu")
        assert not before
        assert load(tmp_path / "small").stored_as == stored_as
        assert fingerprint(made) == fingerprint(load(tmp_path / "small"))
