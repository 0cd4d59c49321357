from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import dense_shape, random_encoder, save
from s3prl_compress.surgery import rebuild

pytestmark = pytest.mark.s3prl

SECONDS = (0.15, 3.0, 0.4689, 1.0, 0.144, 2.0013)
TINY: dict[str, Any] = {
    "hidden": 32, "layers": 2, "heads": 4, "ffn": 48, "conv_widths": (16,) * 7,
    "position_kernel": 16, "position_groups": 4,
}  # fmt: skip


@pytest.fixture(scope="module", params=["base", "large"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Group norm (base) and layer norm (large)."""
    shape = dense_shape("hubert", **TINY, large=request.param == "large")
    path = tmp_path_factory.mktemp("expert") / request.param
    return save(random_encoder(shape, seed=1), path)


@pytest.fixture(scope="module")
def waves() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(round(16_000 * s), generator=generator) for s in SECONDS]


def _expert(folder: Path, *arguments: Any, **options: Any) -> Any:
    from s3prl_compress.upstreams.compressed.expert import UpstreamExpert

    return UpstreamExpert(str(folder), *arguments, **options)


def _pooled(expert: Any, waves: list[Tensor]) -> Tensor:
    """Means per utterance, by s3prl's own Featurizer and MeanPooling."""
    from s3prl.downstream.model import MeanPooling
    from s3prl.upstream.interfaces import Featurizer

    featurizer = Featurizer(expert, upstream_device="cpu")
    with torch.no_grad():
        features = featurizer(waves, expert(waves))
        lengths = torch.tensor([len(feature) for feature in features])
        padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        return MeanPooling()(padded, lengths)[0]


def test_means_are_the_same_alone_and_in_a_batch(folder: Path, waves: list[Tensor]) -> None:
    expert = _expert(folder)
    together = _pooled(expert, waves)
    alone = torch.cat([_pooled(expert, [wave]) for wave in waves])
    assert (together - alone).abs().max() <= 1e-4 * alone.abs().max()


def test_every_utterance_has_the_frames_that_s3prl_takes(folder: Path, waves: list[Tensor]) -> None:
    expert = _expert(folder)
    result = expert(waves)
    states = result["hidden_states"]
    assert len(states) == 3
    assert {state.shape for state in states} == {(len(waves), 150, 32)}
    assert result["last_hidden_state"] is states[-1]
    assert all(bool(state.isfinite().all()) for state in states)
    for wave in waves:
        assert expert([wave])["last_hidden_state"].shape == (1, round(len(wave) / 320), 32)


def test_repeated_states_are_weighed_like_any_other(waves: list[Tensor], tmp_path: Path) -> None:
    encoder = random_encoder(dense_shape("hubert", **TINY), seed=1)
    folder = save(rebuild(encoder, {}, kept=[1], repeat_states=True), tmp_path / "repeating")
    expert = _expert(folder)
    states = expert(waves[:2])["hidden_states"]
    assert [state.shape[-1] for state in states] == [32] * 3
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])
    assert _pooled(expert, waves[:2]).shape == (2, 32)


def test_train_mode_equals_eval_mode(folder: Path, waves: list[Tensor]) -> None:
    expert = _expert(folder)
    with torch.no_grad():
        first = expert.train()(waves)["hidden_states"]
        second = expert.eval()(waves)["hidden_states"]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_padding_comes_from_a_keyword_a_word_or_a_file(
    folder: Path, waves: list[Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "padding.yaml"
    file.write_text("padding: fairseq\n")
    given: list[dict[str, Any]] = [
        {"padding": "fairseq"}, {"model_config": "fairseq"}, {"model_config": str(file)}
    ]  # fmt: skip
    for options in given:
        expert = _expert(folder, refresh=False, **options)
        assert expert.encoder.padding == "fairseq"
        # The convolutions' own number of frames for the longest, as s3prl's upstreams.
        assert expert(waves)["last_hidden_state"].shape[1] == 149
    assert _expert(folder, "independent").encoder.padding == "independent"
    assert _expert(folder, None).encoder.padding == "independent"


def test_wrong_input_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    from s3prl_compress.upstreams.compressed.hubconf import compressed

    with pytest.raises(InputError, match="no checkpoint"):
        compressed()
    with pytest.raises(InputError, match="model config zeros: neither independent nor fairseq"):
        _expert(folder, "zeros")
    file = tmp_path / "wrong.yaml"
    for content, message in (
        ("padding: zeros", "padding: must be 'independent' or 'fairseq'"),
        ("normalize: 3", "normalize: must be a valid boolean"),
        ("paddin: fairseq", "paddin: no such key; there are padding, normalize"),
        ("fairseq", "`key: value` lines"),
        ("[", "not YAML"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            _expert(folder, str(file))


def test_options_that_do_not_exist_are_refused(folder: Path) -> None:
    import s3prl_compress

    s3prl_compress.register()
    from s3prl.nn import S3PRLUpstream

    with pytest.raises(InputError, match="no option paddding; there are ckpt, model_config"):
        S3PRLUpstream("compressed", str(folder), extra_conf={"paddding": "fairseq"})
    with pytest.raises(InputError, match="upstream compressed: padding: must be"):
        _expert(folder, padding="zeros")
    upstream = S3PRLUpstream("compressed", str(folder), extra_conf={"normalize": True})
    assert upstream.upstream.encoder.normalize is True


def test_normalisation_comes_from_the_checkpoint_a_keyword_or_a_file(
    folder: Path, tmp_path: Path
) -> None:
    assert _expert(folder).encoder.normalize is False
    assert _expert(folder, normalize=True).encoder.normalize is True
    file = tmp_path / "options.yaml"
    file.write_text("normalize: yes\n")
    expert = _expert(folder, str(file), padding="fairseq")
    assert (expert.encoder.normalize, expert.encoder.padding) == (True, "fairseq")


def test_every_state_stands_under_its_own_name_as_in_s3prls_upstreams(
    folder: Path, waves: list[Tensor]
) -> None:
    result = _expert(folder)(waves)
    for number, state in enumerate(result["hidden_states"]):
        assert result[f"hidden_state_{number}"] is state
    assert "hidden_state_3" not in result


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
@pytest.mark.parametrize("large", [False, True])
def test_clips_below_one_frame_are_s3prls_own(family: str, large: bool, tmp_path: Path) -> None:
    """With its normalisation before the padding, and its masks."""
    from tests.support.baselines import baselines, small_shape

    path = baselines.s3prl_file(small_shape(family, large), tmp_path / "s3prl.pt", normalize=large)
    waves = baselines.noise(16_000, 300, 399, 20)
    theirs = baselines.s3prl_states(baselines.s3prl_expert(family, path), waves)
    with torch.no_grad():
        ours = _expert(path, padding="fairseq")(waves)["hidden_states"]
    valid = [50, 1, 2, 1]  # frames that are not padding there: ceil(samples / 326)
    for one, other in zip(ours, theirs, strict=True):
        for row, other_row, count in zip(one, other, valid, strict=True):
            difference = (row[:count] - other_row[:count]).abs().max()
            assert difference <= 1e-4 * other.abs().max()


def test_short_and_long_clips_in_one_batch(folder: Path) -> None:
    import s3prl_compress

    s3prl_compress.register()
    from s3prl.nn import Featurizer, S3PRLUpstream

    upstream = S3PRLUpstream("compressed", str(folder))
    featurizer = Featurizer(upstream)
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(4, 40_000, generator=generator)
    lengths = torch.tensor([40_000, 900, 300, 170])
    with torch.no_grad():
        features, counts = featurizer(*upstream(waves, lengths))
        assert counts.tolist() == [125, 3, 1, 1]
        assert bool(features.isfinite().all())
        for number in (0, 1):
            length = lengths[number : number + 1]
            alone, _ = featurizer(*upstream(waves[number : number + 1, :length], length))
            together = features[number, : counts[number]]
            assert (together - alone[0]).abs().max() <= 1e-4 * alone.abs().max()
        expert = upstream.upstream
        short, long = waves[2, :300], waves[0]
        alone = expert([short])["last_hidden_state"][0]
        together = expert([long, short])["last_hidden_state"][1, :1]
        assert (together - alone).abs().max() <= 1e-4 * alone.abs().max()
    with pytest.raises(InputError, match="has 0 samples"):
        expert([short, short[:0]])


def test_gradients_reach_the_encoder(folder: Path) -> None:
    expert = _expert(folder)
    expert([torch.randn(4000), torch.randn(900)])["last_hidden_state"].sum().backward()
    assert any(parameter.grad is not None for parameter in expert.parameters())
