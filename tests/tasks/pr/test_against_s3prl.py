"""Phoneme recognition against s3prl's own modules: text encoder, batches, head, loss and score."""

from __future__ import annotations

import importlib
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder, save
from s3prl_compress.probing.frames import layer_frames
from s3prl_compress.probing.recogniser import LinearRecogniser
from s3prl_compress.probing.recogniser_training import update
from s3prl_compress.s3prl_bridge.compat import apply_patches
from s3prl_compress.statistics import metrics
from s3prl_compress.tasks.base.task import Settings
from s3prl_compress.tasks.pr.batches import LONG_SAMPLES, sliding_batches
from s3prl_compress.tasks.pr.corpus import PhonemeCorpus, open_phonemes
from s3prl_compress.tasks.pr.downstream import PhonemeRecognition
from s3prl_compress.tasks.pr.lexicon import read_lexicon
from s3prl_compress.tasks.pr.phonemes import SPECIAL, phoneme_symbols

from ...support.small_corpora import write_phonemes

pytestmark = pytest.mark.s3prl

PHONEMES = ("AA1", "B", "NG", "ɔː")
SYMBOLS = phoneme_symbols(PHONEMES)
LABELS = ("AA1", "B B NG AA1", "ɔː NG", "B AA1 B", "NG AA1 NG AA1 NG AA1 NG AA1 NG AA1 NG")
LENGTHS = (5000, 16_000, 15_000, 9999, 4321)
SETTINGS = Settings(
    total_steps=1, batch_size=3, eval_step=1, learning_rates=(1.0,), projector_dim=24
)


class S3prl:
    """s3prl's upstream, Featurizer and expert, built as its runner builds them."""

    def __init__(self, folder: Path, corpus: PhonemeCorpus, checkpoint: Path | None = None) -> None:
        apply_patches()
        downstream = PhonemeRecognition()
        config = downstream.config(corpus, SETTINGS, 1.0, fold=0, files=folder / "files")
        downstream.prepare(corpus.classes)
        width = 8
        if checkpoint is not None:
            upstreams = importlib.import_module("s3prl_compress.upstreams.compressed.expert")
            interfaces = importlib.import_module("s3prl.upstream.interfaces")
            self.upstream = upstreams.UpstreamExpert(checkpoint)
            self.featurizer = interfaces.Featurizer(self.upstream, upstream_device="cpu")
            width = self.featurizer.output_dim
        torch.manual_seed(7)
        self.expert = importlib.import_module("s3prl.downstream.ctc.expert").DownstreamExpert(
            upstream_dim=width,
            upstream_rate=320,
            downstream_expert=config["downstream_expert"],
            expdir=str(folder),
        )

    def features(self, waves: list[Tensor]) -> Any:
        with torch.no_grad():
            states = self.upstream(waves)
        return self.featurizer(waves, states)

    def parameters(self) -> list[Tensor]:
        return [*self.featurizer.parameters(), *self.expert.parameters()]

    def state(self) -> dict[str, Tensor]:
        """Return the weights under our names."""
        weights = {"layer_weights": self.featurizer.weights.detach().clone()}
        for name, value in self.expert.state_dict().items():
            weights[name.replace("model.linear.", "output.")] = value.clone()
        del weights["best_score"]
        return weights


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def waves() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(samples, generator=generator) for samples in LENGTHS]


@pytest.fixture
def corpus(tmp_path: Path) -> PhonemeCorpus:
    return open_phonemes(write_phonemes(tmp_path / "corpus", LABELS, train=11))


@pytest.fixture
def s3prl(encoder: SpeechEncoder, corpus: PhonemeCorpus, tmp_path: Path) -> S3prl:
    return S3prl(tmp_path, corpus, save(encoder, tmp_path / "checkpoint"))


def linear_head() -> LinearRecogniser:
    return LinearRecogniser(3, 32, SETTINGS.projector_dim, SYMBOLS)


def exact_frames(encoder: SpeechEncoder, waves: list[Tensor], monkeypatch: Any) -> list[Tensor]:
    """Return frames in float32: what would be stored if it were not rounded."""
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(Tensor, "half", lambda tensor: tensor)
        return layer_frames(encoder, waves)


def test_the_same_seed_gives_the_same_head(s3prl: S3prl) -> None:
    expected = s3prl.state()
    torch.manual_seed(7)
    given = linear_head().state_dict()
    assert given.keys() == expected.keys()
    assert all(torch.equal(given[name], expected[name]) for name in given)


def test_equal_heads_give_equal_losses_and_texts(
    s3prl: S3prl, encoder: SpeechEncoder, waves: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    nn.init.normal_(s3prl.featurizer.weights)
    nn.init.normal_(s3prl.expert.model.linear.weight)  # so that different symbols come out
    head = linear_head().eval()
    head.load_state_dict(s3prl.state())
    frames = exact_frames(encoder, waves, monkeypatch)
    encoded = [SYMBOLS.encode(label) for label in LABELS]
    hypotheses = []
    with torch.no_grad():
        for row, wave in enumerate(waves):  # alone: s3prl reads padding where there is some
            records: dict[str, list[Any]] = defaultdict(list)
            loss = s3prl.expert(
                "test", s3prl.features([wave]), [encoded[row]], [str(row)], records=records
            )
            assert head.loss([frames[row]], [torch.tensor(encoded[row])]) == pytest.approx(
                float(loss), abs=1e-4
            )
            assert records["groundtruth"] == [LABELS[row]]
            hypotheses += records["hypothesis"]
        loss = s3prl.expert(
            "train",
            s3prl.features(waves),
            encoded,
            list(map(str, range(5))),
            records=defaultdict(list),
        )
        ours = head.loss(frames, [torch.tensor(target) for target in encoded])
    assert ours == pytest.approx(float(loss), abs=1e-4)
    assert head.texts(frames) == hypotheses
    assert len(set(hypotheses)) == 5


@pytest.mark.parametrize("accumulation", [1, 2])
def test_equal_heads_and_batches_give_equal_weights_after_20_updates(
    s3prl: S3prl,
    encoder: SpeechEncoder,
    waves: list[Tensor],
    monkeypatch: pytest.MonkeyPatch,
    accumulation: int,
) -> None:
    head = linear_head()
    start = s3prl.state()
    head.load_state_dict(start)
    frames = exact_frames(encoder, waves, monkeypatch)
    targets = [SYMBOLS.encode(label) for label in LABELS]
    optimizers = [torch.optim.Adam(part.parameters(), lr=3e-3) for part in (s3prl, head)]
    pairs = [(0, 1), (2, 3, 4), (4, 1), (3, 0, 2, 1)]
    for step in range(20):
        batches = [pairs[(step * accumulation + k) % 4] for k in range(accumulation)]
        for rows in batches:  # What s3prl.downstream.runner.Runner.train does with a batch.
            features = s3prl.features([waves[row] for row in rows])
            texts, names = [targets[row] for row in rows], [str(row) for row in rows]
            loss = s3prl.expert("train", features, texts, names, records=defaultdict(list))
            (loss / accumulation).backward()
        assert not math.isnan(nn.utils.clip_grad_norm_(s3prl.parameters(), 1))
        optimizers[0].step()
        optimizers[0].zero_grad()
        ours = [
            ([frames[row] for row in rows], [torch.tensor(targets[row]) for row in rows])
            for rows in batches
        ]
        update(head, optimizers[1], ours, 1.0)
    for name, expected in s3prl.state().items():
        assert (head.state_dict()[name] - expected).abs().max() < 1e-5, name
        assert (start[name] - expected).abs().max() > 1e-3, name  # it has been trained


def test_symbols_are_those_of_s3prl(tmp_path: Path) -> None:
    text = importlib.import_module("s3prl.downstream.ctc.text")
    vocabulary = tmp_path / "phoneme.txt"
    vocabulary.write_text("".join(f"{phoneme}\n" for phoneme in PHONEMES), encoding="utf-8")
    theirs = text.load_text_encoder("word", str(vocabulary))
    assert theirs.vocab_size == len(SYMBOLS.names) == len(SPECIAL) + len(PHONEMES)
    assert theirs.pad_idx == SYMBOLS.blank
    for label in LABELS:
        assert theirs.encode(label) == SYMBOLS.encode(label)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        # Every second frame repeats its neighbour, as DownstreamExpert.forward would merge it.
        frames = torch.randint(7, (12,), generator=generator).repeat_interleave(2)
        kept = [
            number
            for number in frames.unique_consecutive().tolist()
            if number not in (theirs.pad_idx, theirs.eos_idx)
        ]
        assert SYMBOLS.decode(frames.tolist()) == theirs.decode(kept)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 11, 16])
def test_batches_are_those_of_s3prl(
    corpus: PhonemeCorpus, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the batches that begin with this one, the longest in time and in symbols, half is used.
    rows = corpus.items("train")
    long = next(item for item in rows if item.label == LABELS[4])
    soundfile.write(long.path, np.zeros(LONG_SAMPLES + 1), 16_000)
    settings = SETTINGS.model_copy(update={"batch_size": size})
    monkeypatch.setattr("tests.tasks.pr.test_against_s3prl.SETTINGS", settings)
    loader = S3prl(tmp_path, corpus).expert.get_dataloader("train")
    theirs = [loader.collate_fn([loader.dataset[index]]) for index in range(len(loader.dataset))]
    batches = sliding_batches(
        corpus.lengths("train"), [len(SYMBOLS.encode(item.label)) for item in rows], size
    )
    assert len(batches) == len(theirs) == len(rows)
    for ours, (audio, targets, names) in zip(batches, theirs, strict=True):
        assert sorted(rows[index].path.stem for index in ours) == sorted(names)
        by_name = {rows[index].path.stem: rows[index] for index in ours}
        for wave, target, name in zip(audio, targets, names, strict=True):
            item = by_name[name]
            assert list(target) == phoneme_symbols(corpus.classes).encode(item.label)
            assert np.array_equal(wave, corpus.read(item.path).numpy())
    assert any(len(batch) < min(size, 11) for batch in batches) == (size > 1)


def test_all_loaders_have_the_workers_of_the_settings(
    corpus: PhonemeCorpus, tmp_path: Path
) -> None:
    expert = S3prl(tmp_path, corpus).expert
    for split in ("train", "dev", "test"):
        assert expert.get_dataloader(split).num_workers == 0
    dev = expert.get_dataloader("dev")
    assert [names[0] for _, _, names in dev] == sorted(
        (item.path.stem for item in corpus.items("dev")),
        key=lambda name: -len(corpus.items("dev")[int(name[-1])].label.split()),
    )


def test_pronunciations_are_those_of_s3prl(tmp_path: Path) -> None:
    files = [tmp_path / "first.txt", tmp_path / "second.txt"]
    files[0].write_text("A\tAH0\nREAD  R IY1 D\nREAD\tR EH1 D\n")
    files[1].write_text("READ R EH1 D\nIT'S\tIH1 T S\n")
    g2p = importlib.import_module("s3prl.dataio.encoder.g2p")
    assert read_lexicon(files) == g2p.read_lexicon_files([str(file) for file in files])


def test_the_error_rate_is_that_of_s3prl() -> None:
    apply_patches()
    per = importlib.import_module("s3prl.downstream.ctc.metric").per
    truth = ["AA1 B", "B NG NG", "AA1", "B AA1 B AA1"]
    predicted = ["AA1 B", "", "AA1 B NG AA1", "AA1 B <unk>"]
    assert metrics.word_error_rate(truth, predicted) == pytest.approx(
        100 * per(hypothesis=predicted, groundtruth=truth)
    )
