"""s3prl's own upstreams as guests: the same features as ours of the same weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import cost, fingerprint, load
from s3prl_compress.evaluation import score
from s3prl_compress.latency import time_upstreams
from s3prl_compress.probing.pooling import pool
from s3prl_compress.s3prl_bridge.upstream import S3PRLUpstreamAdapter, foreign_fingerprint
from s3prl_compress.tasks.registry import locate_corpus

from ..support.baselines import baselines, noise, small_shape

pytestmark = pytest.mark.s3prl


@pytest.fixture(scope="module")
def fbank() -> S3PRLUpstreamAdapter:
    return S3PRLUpstreamAdapter("fbank")


def test_the_leaderboards_first_row(fbank: S3PRLUpstreamAdapter) -> None:
    assert (fbank.shape.states, fbank.shape.hidden, fbank.shape.frame_stride) == (1, 240, 160)
    upstream = fbank.describe("FBANK")
    assert upstream.cost is not None
    assert upstream.cost.parameters == 0
    assert upstream.cost.macs_32 / 1e9 == pytest.approx(0.48, abs=0.005)
    (states,), counts = fbank([torch.randn(16_000), torch.randn(8_000)])
    assert states.shape == (2, 98, 240)
    assert counts.tolist() == [98, 50]


def test_a_converted_file_is_what_it_is_to_us(tmp_path: Path) -> None:
    path = baselines.s3prl_file(small_shape("hubert", large=False), tmp_path / "small.pt")
    foreign, ours = S3PRLUpstreamAdapter("hubert_local", path), load(path, padding="fairseq")
    assert foreign.facts.states == len(ours.shape.layers) + 1
    counted = foreign.describe("peer").cost
    assert counted is not None
    # Ours computes the first GroupNorm another way, which counts in a model as small as this.
    assert counted.macs_32 == pytest.approx(cost(ours).macs_32, rel=0.03)
    for samples in (4_000, 16_000, 23_457):
        (waveform,) = noise(samples)
        with torch.no_grad():
            theirs, mine = pool(foreign, [waveform]), pool(ours, [waveform])
        assert torch.allclose(theirs, mine, atol=1e-4 * float(mine.abs().max()))


def test_its_identity_is_name_file_and_version(fbank: S3PRLUpstreamAdapter, tmp_path: Path) -> None:
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    prints = {
        fingerprint(fbank),
        foreign_fingerprint("mfcc", None),
        foreign_fingerprint("fbank", one),
        foreign_fingerprint("fbank", other),
    }
    assert len(prints) == 4
    assert fingerprint(S3PRLUpstreamAdapter("fbank", facts=fbank.facts)) == fingerprint(fbank)


def test_it_is_built_when_it_is_run(fbank: S3PRLUpstreamAdapter) -> None:
    known = S3PRLUpstreamAdapter("fbank", facts=fbank.facts)
    assert known.module is None
    (waveform,) = noise(8_000)
    assert torch.equal(known([waveform])[0][0], fbank([waveform])[0][0])
    assert known.train().training is False


def test_it_is_scored_and_timed(
    fbank: S3PRLUpstreamAdapter, tiny_corpus: Path, tmp_path: Path
) -> None:
    quick = Path(__file__).parent.parent / "quick.yaml"
    given = {"data": tiny_corpus, "output": tmp_path, "recipe": quick, "name": "FBANK"}
    record = score(fbank, padding="independent", **given)  # type: ignore[arg-type]
    assert (record.upstream.name, record.padding) == ("FBANK", "fairseq")
    assert record.approximate
    times = time_upstreams(fbank, repeats=3, warmup=0, utterances_per_bucket=1)
    assert times.upstream.name == "fbank"
    assert times.upstream.checkpoint_sha256 == record.upstream.checkpoint_sha256


def test_its_frames_cannot_be_planned(fbank: S3PRLUpstreamAdapter, tmp_path: Path) -> None:
    corpus = locate_corpus("asr", "demo", tmp_path)
    with pytest.raises(InputError, match="asr, onepass"):
        score(fbank, "asr", data=corpus, output=tmp_path, name="FBANK")


@pytest.mark.parametrize(
    ("name", "checkpoint", "words"),
    [
        ("no_such_upstream", None, "s3prl has no upstream no_such_upstream"),
        ("hubert_local", None, "does it need a checkpoint"),
        ("hubert_local", "nowhere.pt", r"nowhere\.pt: no such file"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, checkpoint: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        S3PRLUpstreamAdapter(name, checkpoint)
    assert "\n" not in str(raised.value)


def test_importing_the_module_does_not_import_s3prl() -> None:
    code = "import s3prl_compress.s3prl_bridge.upstream, sys; sys.exit('s3prl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
