"""s3prl's converted files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import load
from s3prl_compress.encoder.importers.s3prl_pt import our_name, parse_convs
from s3prl_compress.s3prl_bridge.compat import apply_patches

from ...support.baselines import TOLERANCE, baselines, noise, small_shape, states_of
from .files import refused


@pytest.mark.s3prl
@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
def test_s3prl_files_without_a_projection(family: str, tmp_path: Path) -> None:
    apply_patches()
    shape = small_shape(family, False, conv_widths=(24,) * 6 + (48,))
    path = baselines.s3prl_file(shape, tmp_path / "model.pt")
    encoder = load(path, padding="fairseq")
    assert encoder.shape == shape.model_copy(update={"projection": False})
    waveforms = noise(6_000, 4_500)
    theirs = baselines.s3prl_states(baselines.s3prl_expert(family, path), waveforms)
    assert baselines.largest_difference(states_of(encoder, waveforms), theirs) <= TOLERANCE


@pytest.mark.s3prl
def test_s3prl_files_that_are_wrong(tmp_path: Path) -> None:
    apply_patches()
    path = baselines.s3prl_file(small_shape("wavlm", False), tmp_path / "model.pt")
    content = torch.load(path, weights_only=True)
    for fields, words in (
        ({"gru_rel_pos": False}, ("gru_rel_pos",)),
        ({"activation_fn": "relu"}, ("activation_fn", "relu")),
        ({"extractor_mode": "other"}, ("extractor_mode",)),
        ({"conv_feature_layers": "__import__('os').getcwd()"}, ("conv_feature_layers",)),
        ({"encoder_attention_heads": 7}, ("48", "7")),
        ({"encoder_layers": 1}, ("encoder.layers.1", "does not belong")),
        ({"encoder_layers": 3}, ("encoder.layers.2", "missing")),
    ):
        torch.save(content | {"cfg": content["cfg"] | fields}, path)
        refused(path, *words)
    torch.save(content, path)
    assert load(path).normalize is False
    del content["cfg"]["normalize"]
    torch.save(content, path)
    with pytest.warns(UserWarning, match="does not say"):
        load(path)


def test_fairseq_names() -> None:
    assert our_name("mask_emb") == "masked_spec_embed"
    assert our_name("layer_norm.bias") == "feature_projection.layer_norm.bias"
    assert our_name("encoder.layer_norm.bias") == "encoder.layer_norm.bias"
    assert our_name("feature_extractor.conv_layers.0.2.weight") == (
        "feature_extractor.conv_layers.0.layer_norm.weight"
    )
    assert our_name("feature_extractor.conv_layers.3.2.1.weight") == (
        "feature_extractor.conv_layers.3.layer_norm.weight"
    )
    assert our_name("encoder.layers.1.self_attn_layer_norm.bias") == (
        "encoder.layers.1.layer_norm.bias"
    )


def test_convolutions_are_read_without_running_them() -> None:
    convs = parse_convs("[(512,10,5)] + [(512,3,2)] * 4 + 2 * [(512,2,2)]", "here")
    assert [conv.kernel for conv in convs] == [10, 3, 3, 3, 3, 2, 2]
    for text in ("[(1, 2)]", "[(4,4,4)] * 10**9", "[(4,4,4)]" + " * 999" * 9, "print(1)", "[", "3"):
        with pytest.raises(InputError, match="conv_feature_layers"):
            parse_convs(text, "here")
