"""What is a path and what a hub id, and how the hub is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3prl_compress.encoder import load
from s3prl_compress.encoder.importers.hub import is_hub_id

from .files import refused, to_pickle, weights_of


def test_a_mistyped_path_is_never_looked_up_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def fetch(repository: str, **_: Any) -> str:
        raise AssertionError(f"{repository} was looked up")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    refused("out/fold10", "no such file or folder in out")
    for path in ("./fold10", "../fold10", "~/fold10", "a/b/c", "runs/base.fold10", "runs/x.pt"):
        refused(path, f"{path}: no such file or folder")


def test_versions_are_no_suffixes_of_hub_ids() -> None:
    assert is_hub_id("someone/some-model-v1.5")
    assert is_hub_id("facebook/hubert-base-ls960")


def test_a_hub_id_is_fetched_with_its_commit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    commit = tmp_path / "snapshots" / "0123abc"
    commit.parent.mkdir()
    folder.rename(commit)
    asked = []

    def fetch(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, "config.json" in allow_patterns))
        return str(commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    encoder = load("someone/some-model", revision="main")
    assert asked == [("someone/some-model", "main", True)]
    assert encoder.provenance.base == "someone/some-model"
    assert encoder.provenance.base_revision == "0123abc"

    to_pickle(commit, weights_of(commit))
    assert load("someone/some-model").provenance.base_sha256
    assert len(asked) == 3  # asked again for the legacy file


def test_no_way_to_the_hub_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fetch(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    refused("someone/some-model", "someone/some-model", "hub", "no route")


def test_english_only_whisper_models_have_hub_ids() -> None:
    assert is_hub_id("openai/whisper-tiny.en")
    assert is_hub_id("distil-whisper/distil-medium.en")
