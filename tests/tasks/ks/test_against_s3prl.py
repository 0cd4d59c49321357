"""The one-pass engine against s3prl's own modules: the same logits, the same training."""

from __future__ import annotations

import importlib
import math
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s3prl_compress.audio.clips import read_wave
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder, save
from s3prl_compress.probing.features import load_features
from s3prl_compress.probing.heads import ParallelHeads
from s3prl_compress.probing.pooling import pool
from s3prl_compress.tasks.ks.onepass import draw_batches, plan_clips
from s3prl_compress.tasks.registry import open_corpus

pytestmark = pytest.mark.s3prl

CLASSES = 12


class S3prl:
    """s3prl's upstream, Featurizer and keyword-spotting expert, built as its runner does."""

    def __init__(self, checkpoint: Path, corpus: Path, folder: Path) -> None:
        upstreams = importlib.import_module("s3prl_compress.upstreams.compressed.expert")
        interfaces = importlib.import_module("s3prl.upstream.interfaces")
        downstream = importlib.import_module("s3prl.downstream.speech_commands.expert")
        self.upstream = upstreams.UpstreamExpert(checkpoint)
        self.featurizer = interfaces.Featurizer(self.upstream, upstream_device="cpu")
        self.expert = downstream.DownstreamExpert(
            upstream_dim=self.featurizer.output_dim,
            downstream_expert={
                "datarc": {
                    "speech_commands_root": str(corpus / "speech_commands"),
                    "speech_commands_test_root": str(corpus / "speech_commands_test"),
                    "batch_size": 8,
                    "num_workers": 0,
                },
                "modelrc": {
                    "projector_dim": 256,
                    "select": "UtteranceLevel",
                    "UtteranceLevel": {"pooling": "MeanPooling"},
                },
            },
            expdir=str(folder),
        )

    def parameters(self) -> list[Tensor]:
        return [*self.featurizer.parameters(), *self.expert.parameters()]

    def features(self, waves: list[Tensor]) -> Any:
        with torch.no_grad():
            states = self.upstream(waves)
        return self.featurizer(waves, states)

    def logits(self, waves: list[Tensor]) -> Tensor:
        features = self.features(waves)
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


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture
def s3prl(encoder: SpeechEncoder, tiny_corpus: Path, tmp_path: Path) -> S3prl:
    torch.manual_seed(0)
    return S3prl(save(encoder, tmp_path / "checkpoint"), tiny_corpus, tmp_path)


def test_equal_heads_give_equal_logits_on_clips_of_very_unequal_lengths(
    encoder: SpeechEncoder, s3prl: S3prl
) -> None:
    torch.manual_seed(1)
    waves = [0.1 * torch.randn(samples) for samples in (500, 2304, 7999, 15_000, 16_000, 48_123)]
    torch.nn.init.normal_(s3prl.featurizer.weights)
    sweep = ParallelHeads(3, 32, CLASSES, (1e-3, 1e-1))
    sweep.load_state(s3prl.state())
    with torch.no_grad():
        expected = s3prl.logits(waves)
        alone = torch.cat([s3prl.logits([wave]) for wave in waves])
        given = sweep.logits(pool(encoder, waves))
    for head in range(2):
        assert (given[head] - expected).abs().max() < 1e-4
        assert (given[head] - alone).abs().max() < 1e-4
    assert expected.std(0).min() > 1e-3  # the clips do differ


@pytest.mark.parametrize("rate", [1e-2, 1e-4])
def test_equal_heads_and_batches_give_equal_weights_after_20_updates(
    encoder: SpeechEncoder, s3prl: S3prl, tiny_corpus: Path, tmp_path: Path, rate: float
) -> None:
    corpus = open_corpus(tiny_corpus)
    plan = plan_clips(corpus, 4)
    features = load_features(
        encoder, corpus, plan.clips, padding="independent", cache=tmp_path / "features"
    )
    sweep = ParallelHeads(3, 32, CLASSES, (1e-3, rate))
    sweep.load_state(s3prl.state())
    start = sweep.state(1)
    optimizer = torch.optim.Adam(s3prl.parameters(), lr=rate)
    batches = draw_batches(plan, corpus, 8, torch.Generator().manual_seed(0))
    for rows, labels in islice(batches, 20):
        sweep.update(features.values[rows], labels)
        clips = [plan.clips[row] for row in rows.tolist()]
        waves = [clip.cut(read_wave(clip.path)) for clip in clips]
        # What s3prl.downstream.runner.Runner.train does with a batch.
        names = [clip.path.name for clip in clips]
        loss = s3prl.expert(
            "train", s3prl.features(waves), labels.tolist(), names, defaultdict(list)
        )
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(s3prl.parameters(), 1)
        assert not math.isnan(norm)
        optimizer.step()
        optimizer.zero_grad()
    for name, expected in s3prl.state().items():
        assert (sweep.state(1)[name] - expected).abs().max() < 1e-5, name
        assert (start[name] - expected).abs().max() > 10 * 1e-5, name  # it has been trained
