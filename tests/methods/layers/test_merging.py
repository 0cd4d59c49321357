from __future__ import annotations

from typing import Any

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder, fingerprint
from s3prl_compress.encoder.linear import dense_bias, dense_weight
from s3prl_compress.encoder.shape import LINEARS
from s3prl_compress.methods import compress
from s3prl_compress.methods.layers.merging import groups
from s3prl_compress.surgery import get_linear

from ...encoder.mixed import mixed_encoder
from ...support.small import assert_same, small_encoder, speech


def test_layers_are_merged_into_the_next_below() -> None:
    assert groups([0, 3], 6) == {0: [1, 2], 3: [4, 5]}
    assert groups([2, 3], 5) == {2: [0, 1], 3: [4]}
    assert groups([0, 1], 2) == {}


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_parameters_are_those_of_the_paper(family: Any, pre_norm: bool) -> None:
    encoder = small_encoder(family, layers=4, pre_norm=pre_norm)
    merged = compress(encoder, "layers", keep=2, criterion="every", merge=True)
    before, after = encoder.state_dict(), merged.state_dict()
    prefix = "encoder.layers.{}."
    assert len(merged.shape.layers) == 2
    for new, (own, other) in enumerate([(0, 1), (2, 3)]):
        for name, tensor in after.items():
            if not name.startswith(prefix.format(new)):
                continue
            rest = name.removeprefix(prefix.format(new))
            wanted = before[prefix.format(own) + rest].double()
            if not rest.startswith("attention.rel_attn_embed"):
                difference = before[prefix.format(other) + rest].double() - wanted
                wanted = wanted + difference
            torch.testing.assert_close(tensor.double(), wanted, atol=1e-5, rtol=0)


def test_several_layers_into_one() -> None:
    encoder = small_encoder(layers=4)
    merged = compress(encoder, "layers", keep=1, merge=True)
    weights = [dense_weight(get_linear(encoder, number, "fc1")) for number in range(4)]
    wanted = weights[0] + sum(weight - weights[0] for weight in weights[1:])
    torch.testing.assert_close(dense_weight(get_linear(merged, 0, "fc1")), wanted)


def test_copies_are_merged_exactly() -> None:
    encoder = small_encoder("wavlm", layers=4)
    stack = encoder.encoder.layers
    for copied, number in ((0, 1), (2, 3)):
        own = {k: v for k, v in stack[copied].state_dict().items() if "rel_attn" not in k}
        stack[number].load_state_dict(own)
    settings: dict[str, Any] = {"keep": 2, "criterion": "every"}
    merged = compress(encoder, "layers", merge=True, **settings)
    dropped = compress(encoder, "layers", **settings)
    assert_same(merged, dropped, speech(3000), tolerance=0)


def test_other_linears_become_dense() -> None:
    encoder = compress(small_encoder(layers=3), "low_rank", sparsity=0.2, allocation="energy")
    merged = compress(encoder, "layers", keep=2, merge=True)
    assert {getattr(merged.shape.layers[1], name).kind for name in LINEARS} == {"dense"}
    first, second = (get_linear(encoder, number, "out") for number in (1, 2))
    own = get_linear(merged, 1, "out")
    torch.testing.assert_close(dense_weight(own), dense_weight(second), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(dense_bias(own), dense_bias(second), atol=1e-5, rtol=1e-4)
    assert not torch.equal(dense_weight(own), dense_weight(first))
    # The layer that nothing is merged into stays as it was.
    assert merged.shape.layers[0] == encoder.shape.layers[0]


def test_layers_of_other_sizes_are_refused_and_dropped() -> None:
    encoder: SpeechEncoder = mixed_encoder("hubert")
    before = fingerprint(encoder)
    with pytest.raises(InputError, match="layers 0 and 1 cannot be merged") as raised:
        compress(encoder, "layers", keep=1, merge=True)
    assert "\n" not in str(raised.value)
    assert len(compress(encoder, "layers", keep=1).shape.layers) == 1
    assert fingerprint(encoder) == before
