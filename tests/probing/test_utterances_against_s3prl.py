"""SID, ER and IC in one pass against s3prl's own experts and its own, unchanged `Runner.train`."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder, save
from s3prl_compress.probing.features import load_features
from s3prl_compress.probing.heads import ParallelHeads
from s3prl_compress.probing.pooling import pool
from s3prl_compress.probing.training import accumulate
from s3prl_compress.probing.utterances import class_numbers, draw_batches, plan_clips
from s3prl_compress.s3prl_bridge.compat import apply_patches
from s3prl_compress.tasks.base.corpus import Corpus
from s3prl_compress.tasks.registry import open_corpus

pytestmark = pytest.mark.s3prl

UPDATES = 20


@dataclass(frozen=True)
class Case:
    """A task as SUPERB trains it."""

    task: str
    downstream: str
    fold: int
    batch_size: int
    accumulation: int
    classes: int
    """Of s3prl's head: its `voxceleb1` has 1251, whatever the list of speakers."""

    def data(self, corpus: Any) -> dict[str, Any]:
        common = {"num_workers": 0, "train_batch_size": self.batch_size, "eval_batch_size": 1}
        if self.task == "ic":
            return common | {"file_path": str(corpus.root)}
        if self.task == "sid":
            paths = {"file_path": str(corpus.audio_root), "meta_data": str(corpus.split_file)}
            return common | paths | {"max_timestep": 128_000}
        paths = {"root": str(corpus.audio_root), "meta_data": str(corpus.label_root)}
        return common | paths | {"test_fold": f"fold{self.fold}", "pre_load": True} | VALID


VALID = {"valid_ratio": 0.2}
SID = Case("sid", "voxceleb1", 0, 8, 4, 1251)
ER = Case("er", "emotion", 3, 4, 8, 4)
IC = Case("ic", "fluent_commands", 0, 32, 1, 10)
CASES = (SID, ER, IC)


class S3prl:
    """s3prl's upstream, Featurizer and expert, in its runner."""

    def __init__(self, case: Case, checkpoint: Path, corpus: Corpus, folder: Path) -> None:
        upstreams = importlib.import_module("s3prl_compress.upstreams.compressed.expert")
        interfaces = importlib.import_module("s3prl.upstream.interfaces")
        downstream = importlib.import_module(f"s3prl.downstream.{case.downstream}.expert")
        self.module = importlib.import_module("s3prl.downstream.runner")
        self.folder = folder
        self.upstream = upstreams.UpstreamExpert(checkpoint)
        self.featurizer = interfaces.Featurizer(self.upstream, upstream_device="cpu")
        self.expert = downstream.DownstreamExpert(
            upstream_dim=self.featurizer.output_dim,
            downstream_expert={
                "datarc": case.data(corpus),
                "modelrc": {
                    "projector_dim": 256,
                    "select": "UtteranceLevel",
                    "UtteranceLevel": {"pooling": "MeanPooling"},
                },
            },
            expdir=str(folder),
        )

    def logits(self, waves: list[Tensor]) -> Tensor:
        features = self.featurizer(waves, self.upstream(waves))
        lengths = torch.IntTensor([len(feature) for feature in features])
        padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        return self.expert.model(self.expert.projector(padded), lengths)[0]

    def state(self) -> dict[str, Tensor]:
        output = self.expert.model.post_net.linear
        return {
            "layer_weights": self.featurizer.weights,
            "projector_weight": self.expert.projector.weight,
            "projector_bias": self.expert.projector.bias,
            "output_weight": output.weight,
            "output_bias": output.bias,
        }

    def train(self, case: Case, epochs: Iterator[list[Any]], rate: float) -> None:
        """Let the runner's own `train` make the updates; only what it would build is given."""
        runner = self.module.Runner.__new__(self.module.Runner)
        runner.args = Namespace(device="cpu", expdir=str(self.folder), push_to_hf_hub=False)
        never = {"log_step": 10**6, "eval_step": 10**6, "save_step": 10**6}
        runner.config = {
            "runner": never
            | {
                "total_steps": UPDATES,
                "gradient_clipping": 1,
                "gradient_accumulate_steps": case.accumulation,
            },
            "optimizer": {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": rate},
        }
        runner.init_ckpt = {}
        self.expert.get_dataloader = lambda split: next(epochs)
        entry = self.module.ModelEntry
        runner.upstream = entry(self.upstream, "Upstream", False, [])
        runner.featurizer = entry(self.featurizer, "Featurizer", True, [])
        runner.downstream = entry(self.expert, "Downstream", True, [])
        runner.all_entries = [runner.upstream, runner.featurizer, runner.downstream]
        runner.train()


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture
def build(
    encoder: SpeechEncoder,
    tiny_speakers: Path,
    tiny_emotions: Path,
    tiny_intents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Case], tuple[Corpus, S3prl]]:
    apply_patches()
    dataset = importlib.import_module("s3prl.downstream.voxceleb1.dataset")
    monkeypatch.setattr(dataset, "CACHE_PATH", str(tmp_path / "lists"))

    def make(case: Case) -> tuple[Corpus, S3prl]:
        folders = {"sid": tiny_speakers, "er": tiny_emotions, "ic": tiny_intents}
        corpus = open_corpus(folders[case.task], case.task)
        torch.manual_seed(0)
        return corpus, S3prl(case, save(encoder, tmp_path / "checkpoint"), corpus, tmp_path)

    return make


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_equal_heads_give_equal_logits(
    encoder: SpeechEncoder, build: Callable[[Case], tuple[Corpus, S3prl]], case: Case
) -> None:
    _, s3prl = build(case)
    torch.manual_seed(1)
    waves = [0.1 * torch.randn(samples) for samples in (500, 2304, 7999, 15_000, 48_123)]
    torch.nn.init.normal_(s3prl.featurizer.weights)
    sweep = ParallelHeads(3, 32, case.classes, (1e-3, 1e-1))
    sweep.load_state(s3prl.state())
    with torch.no_grad():
        expected, given = s3prl.logits(waves), sweep.logits(pool(encoder, waves))
    assert expected.shape == (5, case.classes)
    assert (given - expected).abs().max() < 1e-4
    assert expected.std(0).min() > 1e-4  # the clips do differ


# Not at 1e-2: where a weight's gradients cancel, Adam makes steps of that size out of rounding.
@pytest.mark.parametrize("rate", [1e-3, 1e-4])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_equal_heads_and_batches_give_equal_weights_after_20_updates(
    encoder: SpeechEncoder,
    build: Callable[[Case], tuple[Corpus, S3prl]],
    tmp_path: Path,
    case: Case,
    rate: float,
) -> None:
    corpus, s3prl = build(case)
    items = corpus.items("train", case.fold)
    plan = plan_clips(corpus, 128_000 if case.task == "sid" else None, 4)
    features = load_features(
        encoder, corpus, plan.clips, padding="independent", cache=tmp_path / "features"
    )
    labels = class_numbers(corpus, items)
    slots = [len(slot) for slot in corpus.slots] if len(corpus.slots) > 1 else ()
    sweep = ParallelHeads(3, 32, case.classes, (1e-2, rate), slots=slots)
    sweep.load_state(s3prl.state())
    start = sweep.state(1)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(5)
        return draw_batches(plan, items, labels, case.batch_size, generator)

    for rows, drawn, shares in islice(accumulate(batches(), case.accumulation), UPDATES):
        sweep.update(features.values[rows], drawn, shares)

    per_epoch = -(-len(items) // case.batch_size)
    assert len(items) % case.batch_size > 0  # the last batch of an epoch is short,
    if case.accumulation > 1:
        assert per_epoch % case.accumulation > 0  # and its gradients wait for the next epoch
    position = {plan.train[item.relative].start: index for index, item in enumerate(items)}
    dataset = s3prl.expert.train_dataset

    def epochs() -> Iterator[list[Any]]:
        given = batches()
        while True:
            epoch = list(islice(given, per_epoch))
            samples = [[dataset[position[row]] for row in rows.tolist()] for rows, _ in epoch]
            yield [[list(column) for column in zip(*part, strict=True)] for part in samples]

    s3prl.train(case, epochs(), rate)
    for name, expected in s3prl.state().items():
        assert (sweep.state(1)[name] - expected).detach().abs().max() < 1e-5, name
        assert (start[name] - expected).detach().abs().max() > 10 * 1e-5, name
