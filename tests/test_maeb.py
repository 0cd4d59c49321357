"""mteb evaluates encoders of ours on a small task of generated speech."""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import load

mteb = pytest.importorskip("mteb", reason="the extra maeb is not installed")

from mteb.abstasks.classification import AbsTaskClassification  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

from s3prl_compress.maeb import MeanEmbedding, mteb_model  # noqa: E402

CORPUS = Path(str(resources.files("s3prl_compress.recipes") / "demo_corpus" / "ks"))
WORDS = ("yes", "no", "stop")


def clips(split: str) -> dict[str, list[Any]]:
    with (CORPUS / "metadata.csv").open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["split"] == split and r["label"] in WORDS]
    audio = []
    for row in rows:
        samples, rate = soundfile.read(CORPUS / row["file"], dtype="float32")
        audio.append({"array": samples, "sampling_rate": rate})
    return {"audio": audio, "label": [WORDS.index(row["label"]) for row in rows]}


class DemoKeywords(AbsTaskClassification):  # type: ignore[misc]
    """Three keywords of the packaged demo corpus."""

    metadata = TaskMetadata(
        name="DemoKeywords",
        description="Three keywords of generated speech.",
        reference=None,
        dataset={"path": "NA", "revision": "NA"},
        type="AudioClassification",
        category="a2t",
        modalities=["audio"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="accuracy",
    )
    input_column_name = "audio"
    samples_per_label = 8
    n_experiments = 2

    def load_data(self, **_: Any) -> None:
        from datasets import Dataset, DatasetDict

        splits = {name: Dataset.from_dict(clips(name)) for name in ("train", "test")}
        self.dataset = DatasetDict({name: own.with_format("numpy") for name, own in splits.items()})
        self.data_loaded = True


def test_mteb_evaluates_a_model(tmp_path: Path) -> None:
    results = mteb.evaluate(mteb_model("hubert_demo", device="cpu"), DemoKeywords(), cache=None)
    (result,) = results.task_results
    assert result.get_score() > 0.6  # chance is a third


def test_an_embedding_is_the_mean_over_the_utterances_own_frames() -> None:
    encoder = load("hubert_demo")
    given = clips("test")["audio"][:3]
    given[1] = given[1] | {"array": given[1]["array"][:7000]}
    for layer in (0, -1):
        own = MeanEmbedding(encoder, layer=layer, device="cpu")._embed(given)
        for row, clip in zip(own, given, strict=True):
            with torch.no_grad():
                states, _ = encoder([torch.from_numpy(clip["array"])])
            np.testing.assert_allclose(row, states[layer][0].mean(0).numpy(), atol=1e-4)


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"layer 9: the model has hidden states 0 to 6"):
        mteb_model("hubert_demo", layer=9)
