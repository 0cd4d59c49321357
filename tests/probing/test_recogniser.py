"""The recogniser against s3prl's own modules: the same logits, the same training."""

from __future__ import annotations

import importlib
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder, save
from s3prl_compress.probing.frames import layer_frames
from s3prl_compress.probing.recogniser import Recogniser, run_lstm
from s3prl_compress.probing.recogniser_training import update
from s3prl_compress.tasks.asr.downstream import recognition_config
from s3prl_compress.tasks.base.characters import dictionary_file, encode
from s3prl_compress.tasks.base.task import RecognitionHead, Settings

HEAD = RecognitionHead(project_dim=24, rnn_dim=16, rnn_layers=2, dropout=0.2, specaug=True)
LENGTHS = (5000, 16_000, 15_000, 9999, 4321)
TEXTS = ("A", "DON'T GO NOW", "QUIZ SHOW", "BELL", "TOO LONG FOR ITS FOURTEEN FRAMES")


class S3prl:
    """s3prl's upstream, Featurizer, SpecAug and expert, built as its runner builds them."""

    def __init__(self, checkpoint: Path, folder: Path, head: RecognitionHead = HEAD) -> None:
        upstreams = importlib.import_module("s3prl_compress.upstreams.compressed.expert")
        interfaces = importlib.import_module("s3prl.upstream.interfaces")
        downstream = importlib.import_module("s3prl.downstream.asr.expert")
        specaug = importlib.import_module("s3prl.downstream.specaug")
        (folder / "char.dict").write_text(dictionary_file())
        settings = Settings(
            total_steps=1, batch_size=4, eval_step=1, learning_rates=(1.0,), recognition=head
        )
        config = recognition_config(
            settings, 1.0, root=folder, tables=folder, dictionary=folder / "char.dict"
        )
        self.upstream = upstreams.UpstreamExpert(checkpoint)
        self.featurizer = interfaces.Featurizer(self.upstream, upstream_device="cpu")
        torch.manual_seed(7)
        self.expert = downstream.DownstreamExpert(
            upstream_dim=self.featurizer.output_dim,
            upstream_rate=320,
            downstream_expert=config["downstream_expert"],
            expdir=str(folder),
        )
        self.specaug = specaug.SpecAug(**config["specaug"]) if head.specaug else None

    def parameters(self) -> list[Tensor]:
        return [*self.featurizer.parameters(), *self.expert.parameters()]

    def features(self, waves: list[Tensor]) -> Any:
        with torch.no_grad():
            states = self.upstream(waves)
        return self.featurizer(waves, states)

    def state(self) -> dict[str, Tensor]:
        """Return the weights under our names."""
        found = {"layer_weights": self.featurizer.weights.detach().clone()}
        for name, value in self.expert.state_dict().items():
            name = name.replace("model.linear.", "output.").replace("model.rnns.", "rnns.")
            found[name.replace(".layer.", ".")] = value.clone()
        del found["best_score"]
        return found


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def waves() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(samples, generator=generator) for samples in LENGTHS]


def s3prl_of(encoder: SpeechEncoder, folder: Path, head: RecognitionHead = HEAD) -> S3prl:
    return S3prl(save(encoder, folder / "checkpoint"), folder, head)


def exact_frames(encoder: SpeechEncoder, waves: list[Tensor], monkeypatch: Any) -> list[Tensor]:
    """Return frames in float32: what would be stored if it were not rounded."""
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(Tensor, "half", lambda tensor: tensor)
        return layer_frames(encoder, waves)


@pytest.mark.s3prl
def test_equal_heads_give_equal_logits(
    encoder: SpeechEncoder, waves: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3prl = s3prl_of(encoder, tmp_path)
    nn.init.normal_(s3prl.featurizer.weights)
    head = Recogniser(3, 32, HEAD).eval()
    head.load_state_dict(s3prl.state())
    s3prl.expert.eval()
    with torch.no_grad():
        expected, expected_counts = s3prl.expert._get_log_probs(s3prl.features(waves))
        exact, counts = head(exact_frames(encoder, waves, monkeypatch))
        stored, _ = head(layer_frames(encoder, waves))
    assert torch.equal(counts, expected_counts)
    for row, count in enumerate(counts.tolist()):
        assert (exact[row, :count] - expected[row, :count]).abs().max() < 1e-4
        assert (stored[row, :count] - expected[row, :count]).abs().max() < 1e-2
    with torch.no_grad():
        texts = head.texts(exact_frames(encoder, waves, monkeypatch))
    assert texts == [" ".join(words) for words in s3prl.expert._decode(expected, counts)[1]]


@pytest.mark.s3prl
def test_the_same_seed_gives_the_same_head(encoder: SpeechEncoder, tmp_path: Path) -> None:
    expected = s3prl_of(encoder, tmp_path).state()
    torch.manual_seed(7)
    given = Recogniser(3, 32, HEAD).state_dict()
    assert given.keys() == expected.keys()
    assert all(torch.equal(given[name], expected[name]) for name in given)


@pytest.mark.s3prl
@pytest.mark.parametrize(("random", "accumulation"), [(False, 1), (True, 2)])
def test_equal_heads_and_batches_give_equal_weights_after_20_updates(
    encoder: SpeechEncoder,
    waves: list[Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    random: bool,
    accumulation: int,
) -> None:
    sizes = HEAD if random else HEAD.model_copy(update={"specaug": False, "dropout": 0.0})
    s3prl = s3prl_of(encoder, tmp_path, sizes)
    head = Recogniser(3, 32, sizes)
    start = s3prl.state()
    head.load_state_dict(start)
    frames = exact_frames(encoder, waves, monkeypatch)
    labels = [encode(text) for text in TEXTS]
    optimizers = [torch.optim.Adam(part.parameters(), lr=3e-3) for part in (s3prl, head)]
    pairs = [(0, 1), (2, 3, 4), (4, 1), (3, 0, 2, 1)]
    for step in range(20):
        batches = [pairs[(step * accumulation + k) % 4] for k in range(accumulation)]
        torch.manual_seed(step)
        for rows in batches:  # What s3prl.downstream.runner.Runner.train does with a batch.
            features = s3prl.features([waves[row] for row in rows])
            if s3prl.specaug is not None:
                features, _ = s3prl.specaug(features)
            texts, names = [labels[row] for row in rows], [str(row) for row in rows]
            loss = s3prl.expert("train", features, texts, names, records=defaultdict(list))
            (loss / accumulation).backward()
        assert not math.isnan(nn.utils.clip_grad_norm_(s3prl.parameters(), 1))
        optimizers[0].step()
        optimizers[0].zero_grad()
        torch.manual_seed(step)
        ours = [
            ([frames[row] for row in rows], [torch.tensor(labels[row]) for row in rows])
            for rows in batches
        ]
        update(head, optimizers[1], ours, 1.0)
    for name, expected in s3prl.state().items():
        assert (head.state_dict()[name] - expected).abs().max() < 1e-5, name
        assert (start[name] - expected).abs().max() > 1e-3, name  # it has been trained


def test_a_step_with_nan_gradients_changes_nothing() -> None:
    torch.manual_seed(0)
    head = Recogniser(2, 8, HEAD.model_copy(update={"specaug": False}))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    bad = [torch.full((2, 30, 8), float("nan"))]
    update(head, optimizer, [(bad, [torch.tensor([4, 5])])], 1.0)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    update(head, optimizer, [([torch.ones(2, 30, 8)], [torch.tensor([4, 5])])], 1.0)
    assert not torch.equal(head.output.weight, before["output.weight"])


def test_layers_without_packed_sequences_give_what_packed_ones_give() -> None:
    torch.manual_seed(0)
    rnn = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
    counts = torch.tensor([3, 17, 1, 9])
    features = torch.randn(4, 17, 6, requires_grad=True)
    weight = torch.randn(4, 17, 10) * (torch.arange(17) < counts[:, None]).unsqueeze(2)
    packed = pack_padded_sequence(features, counts, batch_first=True, enforce_sorted=False)
    expected = pad_packed_sequence(rnn(packed)[0], batch_first=True)[0] * weight
    given = run_lstm(rnn, features, counts) * weight
    torch.testing.assert_close(given, expected, atol=1e-6, rtol=0)
    inputs = [features, *rnn.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(given.sum(), inputs),
        torch.autograd.grad(expected.sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
