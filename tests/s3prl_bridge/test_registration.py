from __future__ import annotations

from pathlib import Path

import pytest
import torch

import s3prl_compress
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.s3prl_bridge import registration

pytestmark = pytest.mark.s3prl


def test_s3prl_finds_the_upstream_everywhere(tmp_path: Path) -> None:
    s3prl_compress.register()
    s3prl_compress.register()
    from s3prl import hub
    from s3prl.nn import Featurizer, S3PRLUpstream

    folder = save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    direct = hub.compressed(str(folder), refresh=False)
    assert direct.get_downsample_rates("hidden_states") == 320
    assert "compressed" in S3PRLUpstream.available_names()
    assert "compressed" in S3PRLUpstream.available_names(only_registered_ckpt=True)

    upstream = S3PRLUpstream("compressed", path_or_url=str(folder))
    assert upstream.num_layers == 3
    assert upstream.hidden_sizes == [32, 32, 32]
    assert upstream.downsample_rates == [320, 320, 320]
    waves, lengths = torch.randn(2, 16_000), torch.tensor([7000, 16_000])
    with torch.no_grad():
        features, counts = Featurizer(upstream)(*upstream(waves, lengths))
        alone, _ = Featurizer(upstream)(*upstream(waves[:1, :7000], lengths[:1]))
    assert features.shape == (2, 50, 32)
    assert counts.tolist() == [22, 50]
    assert torch.allclose(features[0, :22], alone[0], atol=1e-4 * float(alone.abs().max()))


def test_a_name_of_s3prl_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "SHIPPED", {"hubert": "nowhere"})
    with pytest.raises(RuntimeError, match="hubert"):
        registration.register()


def test_a_shipped_upstream_needs_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    monkeypatch.setattr(registration, "SHIPPED", {"hubert_tiny_random": str(folder)})
    registration.register()
    from s3prl import hub

    try:
        assert registration.upstream_names() == ("compressed", "hubert_tiny_random")
        assert len(hub.hubert_tiny_random()([torch.randn(800)])["hidden_states"]) == 3
    finally:
        del hub.hubert_tiny_random


def test_the_small_hub_never_replaces_the_real_one() -> None:
    registration.register()
    with pytest.raises(RuntimeError, match="before the first import"):
        registration.register_alone()
