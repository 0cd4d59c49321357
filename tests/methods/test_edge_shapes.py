"""Learned methods on what other methods may leave: next to nothing, or nothing, of a part."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder
from s3prl_compress.methods import HeadSelection, LayerSelection, Selection, compress, select_units
from s3prl_compress.surgery.masked import MaskedEncoder

from ..support.small import reached, speech, states
from ..surgery.test_binarize import encoder_of
from .test_structured import SMOKE

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "structured": ("structured", {"sparsity": 0.1, "gate_init_spread": 1.0}),
    "structured, unequal heads": ("structured", {"sparsity": 0.1, "equal_heads": False}),
    "structured, all units": ("structured", {"sparsity": 0.1, "units": "qk,vo,head,ffn,conv"}),
    "dphubert": ("dphubert", {"sparsity": 0.1}),
    "prune_low_rank": ("prune_low_rank", {"sparsity": 0.1}),
    "self_pinching": ("self_pinching", {"sparsity": 0.05, "final_steps": 1}),
    "self_pinching, weights": ("self_pinching", {"sparsity": 0.05, "granularity": "weight"}),
    "self_pinching, ctc": ("self_pinching", {"sparsity": 0.05, "objective": "ctc"}),
    "distill": ("distill", {}),
    "ctc": ("ctc", {}),
}
FAMILIES: tuple[Literal["hubert", "wavlm"], ...] = ("hubert", "wavlm")


def some(family: Literal["hubert", "wavlm"]) -> SpeechEncoder:
    """Heads of one dimension, an FFN of one unit, a layer of nothing, a head without queries."""
    encoder = encoder_of(family)
    whole = Selection.everything(encoder.shape)
    none: tuple[int, ...] = ()
    first, second, _, fourth = whole.layers
    layers = (
        first.keeping(heads=(HeadSelection(0, (3,), (5,)), HeadSelection(1, (0, 2), (1,)))),
        second.keeping(ffn=(7,)),
        LayerSelection((), ()),
        fourth.keeping(heads=(HeadSelection(0, none, (1, 2)), HeadSelection(1, (4,), (0, 9)))),
    )
    convs = (whole.convs[0], (3,), *whole.convs[2:])
    return select_units(encoder, whole.keeping(layers=layers, convs=convs))


def least(family: Literal["hubert", "wavlm"]) -> SpeechEncoder:
    """All heads of one dimension or none, all FFNs of one unit or none."""
    encoder = encoder_of(family)
    one = LayerSelection((HeadSelection(1, (0,), (0,)),), (0,))
    nothing = LayerSelection((), ())
    whole = Selection.everything(encoder.shape)
    return select_units(encoder, whole.keeping(layers=(one, nothing, one, nothing)))


def learn(encoder: SpeechEncoder, name: str, audio: Path) -> SpeechEncoder:
    method, own = METHODS[name]
    settings = SMOKE | {"steps": 2} | own | {"audio": audio}
    if method == "distill":
        settings["teacher"] = encoder
    if method == "ctc":
        del settings["crop_seconds"]
    return compress(encoder, method, **settings)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_parts_of_one_unit_or_none(name: str, family: Any, transcribed: Path) -> None:
    encoder = some(family)
    smaller = learn(encoder, name, transcribed)
    sparsity = METHODS[name][1].get("sparsity", 0)
    assert reached(smaller, encoder) == pytest.approx(sparsity, abs=0.01)
    for utterance in states(smaller, speech(2000, 3000)):
        assert all(torch.isfinite(state).all() for state in utterance)


# Those that also prune the convolutions find something to prune.
ENOUGH = ("structured, all units", "dphubert", "distill", "ctc")


@pytest.mark.parametrize("name", ENOUGH)
def test_hardly_anything_left_of_the_layers(name: str, transcribed: Path) -> None:
    encoder = least("wavlm")
    smaller = learn(encoder, name, transcribed)
    sparsity = METHODS[name][1].get("sparsity", 0)
    assert reached(smaller, encoder) == pytest.approx(sparsity, abs=0.01)
    for utterance in states(smaller, speech(2000, 3000)):
        assert all(torch.isfinite(state).all() for state in utterance)


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(ENOUGH)))
def test_a_target_that_next_to_nothing_cannot_meet(name: str, transcribed: Path) -> None:
    with pytest.raises(InputError, match=r"sparsity .* can remove at most 0\.0") as raised:
        learn(least("wavlm"), name, transcribed)
    assert "\n" not in str(raised.value)


def test_a_unit_without_rivals_starts_as_all_did() -> None:
    encoder = some("hubert")
    gated = MaskedEncoder(encoder, {"qk": 0.5, "vo": 0.5, "ffn": 0.5}, straight_through=True)
    gated.init_gates_by_magnitude(1.0)
    qk, ffn = gated.log_alpha("qk"), gated.log_alpha("ffn")
    assert qk[:3].abs().tolist() == pytest.approx([0, 1, 1], abs=1e-4)  # heads of 1 and 2
    assert float(ffn[96]) == 0  # the second layer's only unit
    assert len(ffn) == 96 + 1 + 96
    assert float(ffn[:96].std(correction=0)) == pytest.approx(1, rel=1e-3)
