"""Whisper's encoder through s3prl's own interface, and on SUPERB's tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s3prl_compress import whisper
from s3prl_compress.encoder import load
from s3prl_compress.evaluation import score
from s3prl_compress.results.records import read_record

from ...support.baselines import baselines
from ...whisper.small import small_folder

pytestmark = pytest.mark.s3prl

QUICK = Path(__file__).parents[2] / "quick.yaml"
SECONDS = (0.15, 3.0, 0.4689, 1.0, 0.0144, 2.0013)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one-second blocks, pruned to unequal sizes."""
    root = tmp_path_factory.mktemp("whisper_upstream")
    dense = whisper.load(small_folder(root / "hf", max_source_positions=50))
    return whisper.save(whisper.compress(dense, "clustering", sparsity=0.1), root / "w10")


@pytest.fixture(scope="module")
def waves() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(round(16_000 * s), generator=generator) for s in SECONDS]


@pytest.mark.parametrize("padding", ["independent", "fairseq"])
def test_s3prls_own_interface_returns_states_and_lengths(
    padding: str, folder: Path, waves: list[Tensor]
) -> None:
    from s3prl_compress.s3prl_bridge.registration import register

    register()
    from s3prl.nn import S3PRLUpstream

    upstream = S3PRLUpstream("compressed", path_or_url=str(folder), extra_conf={"padding": padding})
    assert (upstream.num_layers, upstream.hidden_sizes) == (3, [32] * 3)
    assert upstream.downsample_rates == [320] * 3
    batch = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    lengths = torch.tensor([len(wave) for wave in waves])
    with torch.no_grad():
        states, counts = upstream(batch, lengths)
        hidden, _ = load(folder)([waves[1]])
    assert {tuple(state.shape) for state in states} == {(len(waves), 150, 32)}
    assert baselines.largest_difference([s[1:2] for s in states], list(hidden)) <= 1e-5
    assert len(counts) == 3
    assert upstream.train().upstream.encoder.training
    with torch.no_grad():
        again, _ = upstream(batch, lengths)
    assert all(torch.equal(one, other) for one, other in zip(again, states, strict=True))


def test_the_upstream_can_leave_the_padding_out(
    folder: Path, waves: list[Tensor], tmp_path: Path
) -> None:
    from s3prl_compress.upstreams.compressed.expert import UpstreamExpert

    options = tmp_path / "options.yaml"
    options.write_text("pad: none\n")
    given: list[dict[str, Any]] = [{"pad": "none"}, {"model_config": str(options)}]
    for own in given:
        expert = UpstreamExpert(folder, **own)
        with torch.no_grad():
            states = expert(waves[:1])["hidden_states"]
            wanted, _ = load(folder, pad="none")(waves[:1])
        assert states[0].shape[1] == round(len(waves[0]) / 320)
        assert all(torch.equal(a, b) for a, b in zip(states, wanted, strict=True))


@pytest.mark.parametrize("engine", ["onepass", "s3prl"])
def test_both_engines_score_it(
    engine: Any, folder: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    record = score(folder, "ks", data=tiny_corpus, output=tmp_path, recipe=QUICK, engine=engine)
    (path,) = tmp_path.glob("*.json")
    assert read_record(path) == record
    assert record.upstream.front_end == {"mel_bins": 8, "pad": "full"}
    assert record.upstream.methods[0].startswith("clustering(")
    assert 0 <= record.score <= 100


def test_padded_and_unpadded_are_two_cells(folder: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    unpadded = load(folder, pad="none")
    one = score(folder, "ks", data=tiny_corpus, output=tmp_path, recipe=QUICK, name="w")
    other = score(unpadded, "ks", data=tiny_corpus, output=tmp_path, recipe=QUICK, name="w")
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert one.upstream.checkpoint_sha256 != other.upstream.checkpoint_sha256
    assert other.upstream.base == f"{one.upstream.base} (pad: none)"
    assert other.upstream.front_end == {"mel_bins": 8, "pad": "none"}
