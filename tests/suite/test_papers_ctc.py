"""The suite of the papers' rows on small random models of the papers' architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3prl_compress.cli.compression_recipes import find_recipe, read_recipe
from s3prl_compress.encoder import SpeechEncoder
from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.evaluation import score_test_sets
from s3prl_compress.suite.suite_file import Suite, UpstreamEntry, find_suite, read_suite
from s3prl_compress.suite.upstreams import make_upstream

from ..support.small import small_paper_model

FEW: dict[str, Any] = {
    "steps": 2,
    "batch_seconds": 3,
    "accumulation": 1,
    "log_every": 1,
    "checkpoint_every": 1,
    "workers": 0,
    "precision": "no",
}


@pytest.fixture
def suite(transcribed: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setenv("LIBRISPEECH", str(transcribed))
    return read_suite(find_suite("papers_ctc"))


def shortened(entry: UpstreamEntry) -> UpstreamEntry:
    """Return the entry with a few updates, if it trains."""
    if "audio" not in entry.settings:
        return entry
    settings = {key: value for key, value in entry.settings.items() if key != "epochs"}
    return entry.model_copy(update={"settings": settings | FEW})


def test_every_row_can_be_made_and_scored(suite: Suite, tmp_path: Path) -> None:
    made: dict[str, SpeechEncoder] = {}
    for entry in suite.upstreams:
        if entry.source is not None:
            made[entry.name] = small_paper_model(entry.name)
            continue
        assert entry.base is not None
        base = made[entry.base]
        own, cached = make_upstream(shortened(entry), base, tmp_path / "made", "cpu")
        kept = nonzero_parameters(own) / nonzero_parameters(base)
        assert not cached
        assert kept == pytest.approx(1 - entry.settings.get("sparsity", 0), abs=0.01)
        assert own.head is not None
        made[entry.name] = own
    assert [Path(task.data).name for task in suite.tasks] == ["test-clean", "test-other"]
    (record,) = score_test_sets(
        made["hubert_large.pinched60"],
        suite.tasks[0].task,
        data=[suite.tasks[0].data],
        output=tmp_path / "scores",
    )
    assert record.test_size == 4


def test_settings_are_those_of_the_recipes(suite: Suite) -> None:
    entries = {entry.name: entry for entry in suite.upstreams}
    for name, recipe in {
        "hubert_large.fold50": "clustering_hubert_large",
        "hubert_large.channels50": "magnitude_hubert_large",
        "hubert_large.pinched60": "self_pinching_hubert_large",
        "wav2vec2_base.pinched65": "self_pinching_wav2vec2_base",
    }.items():
        found = read_recipe(find_recipe(recipe))
        own = {key: value for key, value in entries[name].settings.items() if key != "audio"}
        assert (entries[name].method, own) == (found.method, found.settings)
        for step in found.then:
            tuned = entries[f"{name}.{step.method}"]
            own = {key: value for key, value in tuned.settings.items() if key != "audio"}
            assert (tuned.base, own) == (name, step.settings)
