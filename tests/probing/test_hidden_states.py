"""Heads that leave out hidden states, and the weights that heads give to the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from scipy.special import softmax

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.evaluation import load_settings, onepass, record_path, score
from s3prl_compress.evaluation.cell import cell_stem
from s3prl_compress.evaluation.rates import rates_by_onepass
from s3prl_compress.methods import compress
from s3prl_compress.probing import features
from s3prl_compress.probing.frame_extraction import load_frames
from s3prl_compress.probing.hidden_states import layer_weights
from s3prl_compress.report.leaderboard import leaderboard
from s3prl_compress.results.records import Engine, ScoreRecord, Upstream, read_record
from s3prl_compress.tasks.asr import onepass as recognition
from s3prl_compress.tasks.base.engine import EngineResult, Job
from s3prl_compress.tasks.base.task import Settings
from s3prl_compress.tasks.registry import find_task, open_corpus

from ..evaluation.test_seeds import RECIPES, corpora

__all__ = ["corpora"]

POOLED = ("ks", "sid", "er")


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


def write_recipe(folder: Path, task: str, **changes: Any) -> Path:
    path = folder / "short.yaml"
    values = {"learning_rates": [1e-3, 1e-2]} | RECIPES[task] | changes
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def job_of(encoder: SpeechEncoder, corpora: dict[str, Path], task: str, work: Path) -> Job:
    settings, _ = load_settings(task, write_recipe(work, task), "onepass")
    return Job(
        encoder=encoder,
        checkpoint=None,
        task=find_task(task),
        corpus=open_corpus(corpora[task], task),
        settings=settings,
        seed=0,
        padding="independent",
        work=work / "cell",
        device="cpu",
    )


def from_state(job: Job, first_state: int) -> Job:
    return replace(job, settings=job.settings.model_copy(update={"first_state": first_state}))


@pytest.mark.parametrize("task", POOLED)
def test_the_result_is_that_of_an_upstream_without_these_states(
    task: str,
    encoder: SpeechEncoder,
    corpora: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_of(encoder, corpora, task, tmp_path)
    usual, without = onepass.run(job), onepass.run(from_state(job, 1))
    original = features.load_features

    def fewer(*arguments: Any, **options: Any) -> features.Features:
        found = original(*arguments, **options)
        return replace(found, values=found.values[:, 1:].clone())

    monkeypatch.setattr(features, "load_features", fewer)
    expected = onepass.run(job)
    assert without.predictions == expected.predictions
    assert without.rates == expected.rates
    assert without.layer_weights == (0.0, *expected.layer_weights)
    assert len(usual.layer_weights) == 3
    assert usual.layer_weights[0] > 0


def test_recognition_reads_the_other_states_only(
    encoder: SpeechEncoder, corpora: dict[str, Path], tmp_path: Path
) -> None:
    job = job_of(encoder, corpora, "asr", tmp_path)
    corpus: Any = job.corpus
    frames = load_frames(encoder, corpus, padding="independent", cache=job.features_folder)
    fewer = replace(frames, first_state=2)
    assert (frames.states, fewer.states) == (3, 1)
    for row in range(len(frames.plan.items)):
        assert torch.equal(fewer.read([row])[0], frames.read([row])[0][2:])
    result = onepass.run(from_state(job, 1))
    assert result.layer_weights[0] == 0
    assert min(result.layer_weights[1:]) > 0
    assert sum(result.layer_weights) == pytest.approx(1)
    (last,) = recognition.run_seeds([from_state(job, 2)])
    assert last.layer_weights == (0, 0, 1)


@pytest.mark.parametrize("first_state", [0, 1])
@pytest.mark.parametrize("informative", [1, 2])
def test_weight_goes_to_the_state_that_tells_classes_apart(
    informative: int,
    first_state: int,
    encoder: SpeechEncoder,
    corpora: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_of(encoder, corpora, "sid", tmp_path)
    generator = torch.Generator().manual_seed(0)
    classes = list(job.corpus.classes)

    def made_up(*arguments: Any, **options: Any) -> features.Features:
        clips = arguments[2]
        values = 0.1 * torch.randn(len(clips), 3, 32, generator=generator)
        for row, clip in enumerate(clips):
            speaker = next(number for number, name in enumerate(classes) if name in str(clip.path))
            values[row, informative, speaker] += 3
        return features.Features(values, reused=False)

    monkeypatch.setattr(features, "load_features", made_up)
    weights = onepass.run(from_state(job, first_state)).layer_weights
    assert max(weights) == weights[informative]
    assert sum(weights) == pytest.approx(1)
    assert (weights[0] == 0) == (first_state == 1)


def test_weights_are_the_mean_softmax_over_folds() -> None:
    heads = [torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.0])]
    expected = (softmax([0.5, -1.0]) + softmax([2.0, 0.0])) / 2
    assert layer_weights(heads, 0) == pytest.approx(expected.tolist())
    assert layer_weights(heads, 2) == pytest.approx((0, 0, *expected))


# Of records that were written before there was a `first_state`.
STEMS: dict[tuple[str, Engine], str] = {
    ("ks", "onepass"): "tiny.ks.onepass.independent.seed0.3f66e6a5",
    ("ks", "s3prl"): "tiny.ks.s3prl.fairseq.seed0.9ad9b905",
    ("sid", "onepass"): "tiny.sid.onepass.independent.seed0.e79fb660",
    ("er", "onepass"): "tiny.er.onepass.independent.seed0.c2f1acf6",
    ("asr", "onepass"): "tiny.asr.onepass.independent.seed0.4622169e",
}
OLD_SETTINGS = {
    "total_steps": 300,
    "batch_size": 32,
    "accumulation": 1,
    "eval_step": 50,
    "learning_rates": [0.01, 0.001, 0.0001],
    "optimizer": "Adam",
    "gradient_clipping": 1.0,
    "projector_dim": 256,
    "recognition": None,
    "padding": "independent",
    "crops_per_file": 64,
    "longest_seconds": 8.0,
    "crops_per_clip": 4,
    "num_workers": 0,
}
"""Of a keyword-spotting record of recipe smoke, from before `first_state`."""


def stem_of(task: str, settings: Settings, engine: Engine) -> str:
    upstream = Upstream(
        name="tiny", checkpoint_sha256="0" * 64, source="x", base="b", random_weights=False
    )
    corpus: Any = SimpleNamespace(fingerprint=lambda: "1" * 64)
    return cell_stem(upstream, corpus, find_task(task), settings, engine, 0)


@pytest.mark.parametrize(("task", "engine"), STEMS)
def test_old_cells_keep_their_identity(task: str, engine: Engine) -> None:
    settings, _ = load_settings(task, "official", engine)
    assert stem_of(task, settings, engine) == STEMS[task, engine]
    other = settings.model_copy(update={"first_state": 1})
    assert stem_of(task, other, engine) != STEMS[task, engine]
    assert other.identity() == settings.identity() | {"first_state": 1}


def test_old_settings_are_those_of_today() -> None:
    settings, _ = load_settings("ks", "smoke", "onepass")
    assert settings.identity() == OLD_SETTINGS


def test_an_old_record_is_a_finished_cell(
    encoder: SpeechEncoder, corpora: dict[str, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    arguments: dict[str, Any] = {
        "source": encoder,
        "task": "ks",
        "data": corpora["ks"],
        "output": tmp_path / "out",
        "recipe": write_recipe(tmp_path, "ks"),
    }
    record = score(**arguments)
    assert len(record.layer_weights) == 3
    path = record_path(record, arguments["output"])
    data = json.loads(path.read_text())
    del data["layer_weights"]
    assert "first_state" not in data["settings"]
    path.write_text(json.dumps(data))
    monkeypatch.setattr(onepass, "run", never)
    old = score(**arguments)
    assert old.layer_weights == ()
    assert old == read_record(path)
    settings, _ = load_settings("ks", arguments["recipe"], "onepass")
    chosen = rates_by_onepass(
        [old],
        checkpoint=old.upstream.checkpoint_sha256,
        task=find_task("ks"),
        corpus=old.corpus.fingerprint,
        settings=settings,
        seed=0,
    )
    assert [rate.learning_rate for rate in chosen] == [old.learning_rate]


def never(job: Job) -> EngineResult:
    raise AssertionError("a finished cell was run again")


def test_rows_without_a_state_stand_in_a_block_of_their_own(
    encoder: SpeechEncoder, corpora: dict[str, Path], tmp_path: Path
) -> None:
    records = []
    for first_state in (0, 1):
        recipe = write_recipe(tmp_path, "ks", first_state=first_state)
        output = tmp_path / "out"
        record = score(encoder, "ks", data=corpora["ks"], output=output, recipe=recipe)
        located = str(output / record.predictions)
        records.append(record.model_copy(update={"predictions": located}))
    assert [record.settings.get("first_state") for record in records] == [None, 1]
    rows = leaderboard(records)
    assert [row.block for row in rows] == [1, 2]
    assert sorted(row.first_state for row in rows) == [0, 1]


@pytest.mark.parametrize(
    ("first_state", "message"),
    [
        (3, "tiny: first_state 3 leaves no hidden state to weigh; .* hidden states 0 to 2"),
        (-1, "first_state: must be greater than or equal to 0"),
        ("one", "first_state: must be a valid integer"),
    ],
)
@pytest.mark.parametrize("task", RECIPES)
def test_a_state_that_is_not_there_is_one_line_before_any_work(
    task: str,
    first_state: Any,
    message: str,
    encoder: SpeechEncoder,
    corpora: dict[str, Path],
    tmp_path: Path,
) -> None:
    recipe = write_recipe(tmp_path, task, first_state=first_state)
    output = tmp_path / "out"
    with pytest.raises(InputError, match=message) as raised:
        score(encoder, task, data=corpora[task], output=output, recipe=recipe, name="tiny")
    assert "\n" not in str(raised.value)
    assert not output.exists()


def test_without_layers_there_is_only_state_0(
    encoder: SpeechEncoder, corpora: dict[str, Path], tmp_path: Path
) -> None:
    bare = compress(encoder, "layers", keep=0)
    recipe = write_recipe(tmp_path, "ks", first_state=1)
    with pytest.raises(InputError, match="this upstream has only hidden state 0"):
        score(bare, "ks", data=corpora["ks"], output=tmp_path / "out", recipe=recipe)
    usual = write_recipe(tmp_path, "ks")
    record: ScoreRecord = score(
        bare, "ks", data=corpora["ks"], output=tmp_path / "out", recipe=usual
    )
    assert record.layer_weights == (1.0,)


def test_s3prl_weighs_all_states(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "ks", first_state=1)
    with pytest.raises(InputError, match="first_state: 1: s3prl's head weighs all") as raised:
        load_settings("ks", recipe, "s3prl")
    assert "\n" not in str(raised.value)
    engines = {"onepass": {"first_state": 1}, "s3prl": {"rate_from": "onepass"}}
    recipe = write_recipe(tmp_path, "ks", engines=engines)
    with pytest.raises(InputError, match="rate_from: onepass: the one-pass head leaves out"):
        load_settings("ks", recipe, "s3prl")
