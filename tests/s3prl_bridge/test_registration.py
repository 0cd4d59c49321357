from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import torch

import s3prl_compress
from s3prl_compress.common.errors import InputError
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
    # That list is of upstreams that bring their own checkpoint.
    assert "compressed" not in S3PRLUpstream.available_names(only_registered_ckpt=True)
    assert "fbank" in S3PRLUpstream.available_names(only_registered_ckpt=True)

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


def test_a_folder_or_a_hub_id_stands_for_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3prl_compress.register()
    from s3prl import hub
    from s3prl.nn import S3PRLUpstream

    folder = save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    waves, lengths = torch.randn(1, 8000), torch.tensor([8000])
    with torch.no_grad():
        expected, _ = S3PRLUpstream("compressed", path_or_url=str(folder))(waves, lengths)
        for name in (str(folder), "someone/tiny"):
            states, _ = S3PRLUpstream(name)(waves, lengths)
            for own, other in zip(expected, states, strict=True):
                assert torch.equal(own, other)
    with pytest.raises(AttributeError, match="no upstream called 'nothing'"):
        _ = hub.nothing


def test_a_name_of_s3prl_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "BUNDLED", {"hubert": "a recipe"})
    with pytest.raises(RuntimeError, match="hubert"):
        registration.register()


def test_the_bundled_upstream_needs_no_checkpoint(bundled_demo: Path) -> None:
    s3prl_compress.register()
    from s3prl import hub
    from s3prl.nn import S3PRLUpstream

    assert registration.upstream_names() == ("compressed", "hubert_demo", "hubert_demo_ctc")
    assert "hubert_demo" in S3PRLUpstream.available_names(only_registered_ckpt=True)
    upstream = S3PRLUpstream("hubert_demo")
    assert upstream.hidden_sizes == [256] * 7
    wave = torch.randn(8000)
    with torch.no_grad():
        states = hub.hubert_demo(refresh=False)([wave])["hidden_states"]
        theirs, _ = upstream(wave[None], torch.tensor([8000]))
        expected = hub.compressed(str(bundled_demo))([wave])["hidden_states"]
        assert hub.hubert_demo(model_config="fairseq").encoder.padding == "fairseq"
    for state, other, third in zip(states, expected, theirs, strict=True):
        assert torch.equal(state, other)
        assert torch.equal(state, third)


def test_the_bundled_upstream_without_weights(no_bundled_demo: Path) -> None:
    s3prl_compress.register()
    from s3prl import hub

    with pytest.raises(InputError, match="without its weights"):
        hub.hubert_demo()


def test_the_small_hub_never_replaces_the_real_one() -> None:
    registration.register()
    with pytest.raises(RuntimeError, match="before the first import"):
        registration.register_alone()
