"""A model card is valid for the hub, holds what the records say, and its code runs."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import ModelCard

from s3prl_compress import cli
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    NAMED_SHAPES,
    Provenance,
    SpeechEncoder,
    fingerprint,
    random_encoder,
    save,
)
from s3prl_compress.methods import compress
from s3prl_compress.publishing import model_card
from s3prl_compress.publishing.licenses import license_of

from ..support.made_up import score, timing, upstream, write_all

NAME = "someone/hubert-small"


@pytest.fixture(scope="module", name="encoder")
def _encoder() -> SpeechEncoder:
    dense = random_encoder(NAMED_SHAPES["hubert_tiny"])
    dense.provenance = Provenance(base="facebook/hubert-base-ls960", base_revision="dba3bb02")
    return compress(dense, "clustering", sparsity=0.2).eval()


@pytest.fixture(name="folder")
def _folder(encoder: SpeechEncoder, tmp_path: Path) -> Path:
    """The checkpoint, and records of it and of its dense model in `results`."""
    base = {"base": encoder.provenance.base}
    own = upstream(
        "fold20", methods=("clustering(sparsity=0.2)",), checkpoint_sha256=fingerprint(encoder)
    ).model_copy(update=base)
    dense = upstream("dense").model_copy(update=base)
    records = [
        *(score(own, 95.0 + seed, seed=seed) for seed in (0, 1)),
        *(score(dense, 96.0 + seed, seed=seed) for seed in (0, 1)),
        score(own, 60.0, task="sid", recipe="smoke"),
        score(own, 70.0, task="sid", variant="voxceleb1"),
        score(own, 12.5, task="er", corpus=score(own, 1).corpus.model_copy(
            update={"name": "made by espeak", "generated": True})),
        timing(own, dense, 1.25),
    ]  # fmt: skip
    write_all(tmp_path / "results", list(records))
    return save(encoder, tmp_path / "model")


def test_the_card_is_what_the_records_say(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = str(folder.parent / "results")
    assert cli.main(["card", str(folder), "--records", results, "--name", NAME]) == 0
    assert f"push {folder} {NAME} --dry-run" in capsys.readouterr().out
    card = ModelCard.load(folder / "README.md")
    data = card.data
    assert (data.license, data.library_name) == ("apache-2.0", "s3prl_compress")
    assert data.base_model == "facebook/hubert-base-ls960"
    assert data.pipeline_tag == "feature-extraction"
    assert {"clustering", "hubert", "s3prl"} <= set(data.tags)
    # Official settings only.
    result, other = sorted(data.eval_results, key=lambda result: result.task_name)
    assert (result.task_name, result.metric_value) == ("SUPERB ks", 95.5)
    assert (other.task_name, other.metric_value) == ("SUPERB sid", 70.0)
    assert result.metric_args["seeds"] == 2
    assert "| ks | speech_commands | accuracy: 95.50" in card.text
    assert "| sid | speech_commands | accuracy: 60.00" in card.text
    assert "espeak" not in card.text
    assert "1.25 x" in card.text
    assert "| `dense` |" in card.text
    assert "sparsity = 0.2" in card.text


def test_the_code_on_it_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = str(folder.parent / "results")
    assert cli.main(["card", str(folder), "--records", results, "--name", NAME]) == 0
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    text = (
        (folder / "README.md")
        .read_text()
        .replace(
            f'AutoModel.from_pretrained("{NAME}")', f"AutoModel.from_pretrained({str(folder)!r})"
        )
    )
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(code) == 3
    names: dict[str, object] = {}
    for block in code:
        exec(block, names)
    assert len(names["states"]) == 3  # type: ignore[arg-type]
    assert names["upstream"].num_layers == 3  # type: ignore[attr-defined]
    assert names["model"].config.model_type == "s3prl_compress"  # type: ignore[attr-defined]


def test_the_licence_is_that_of_the_base(encoder: SpeechEncoder) -> None:
    assert license_of("microsoft/wavlm-base-plus", None).identifier == "cc-by-sa-3.0"
    assert license_of("openai/whisper-large-v3", None).identifier == "apache-2.0"
    assert license_of("openai/whisper-large-v3-turbo", None).identifier == "mit"
    assert license_of("anything", "cc0-1.0").identifier == "cc0-1.0"
    text = model_card(encoder, [], repository=NAME, license="cc-by-4.0")
    assert "Licence: cc-by-4.0." in text
    assert "has not been scored with SUPERB's official settings" in text
    with pytest.raises(InputError, match="the licence of my_model is not known here"):
        license_of("my_model", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folder": "nothing"}, "not a checkpoint folder"),
        ({"records": "empty"}, "no record is of"),
        ({"name": "hubert-small"}, "give the hub id of the model, OWNER/NAME"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, change: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "empty").mkdir()
    given = {"folder": "model", "records": "results", "name": NAME} | change
    places = [str(folder.parent / given[key]) for key in ("folder", "records")]
    assert cli.main(["card", places[0], "--records", places[1], "--name", given["name"]]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "README.md").exists()


def test_a_base_that_was_a_file_is_not_linked_to(encoder: SpeechEncoder) -> None:
    encoder = copy.deepcopy(encoder)
    encoder.provenance = encoder.provenance.model_copy(
        update={"base": "/data/converted/hubert_base.pt", "base_revision": None}
    )
    card = ModelCard(model_card(encoder, [], repository=NAME, license="mit"))
    assert card.data.base_model is None


def test_scores_of_another_engine_version_are_not_compared_with(encoder: SpeechEncoder) -> None:
    own = upstream("fold20", methods=("clustering",), checkpoint_sha256=fingerprint(encoder))
    records = [
        *(score(own, 90.0 + seed, seed=seed, engine_version=2) for seed in (0, 1)),
        *(score(upstream("dense"), 96.0 + seed, seed=seed, engine_version=1) for seed in (0, 1)),
    ]
    text = model_card(encoder, records, repository=NAME)
    assert "accuracy: 90.50" in text
    assert "-6.00" not in text
    assert "Scores of older engine versions are left out" in text
