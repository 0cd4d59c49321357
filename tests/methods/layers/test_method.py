"""Layer removal against transformers, and an encoder without layers through everything else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.cli.inspection import inspect_model, inspection_rows
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    SpeechEncoder,
    cost,
    fingerprint,
    load,
    macs,
    random_encoder,
    save,
)
from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.encoder.exporters.transformers import export_transformers
from s3prl_compress.encoder.memory import forward_bytes
from s3prl_compress.encoder.provenance import MethodStep
from s3prl_compress.latency import time_upstreams
from s3prl_compress.methods import available, compress
from s3prl_compress.surgery import rebuild

from ...support import small
from ...support.baselines import (
    NAMES,
    TOLERANCE,
    VARIANTS,
    baselines,
    small_encoder,
    small_shape,
)
from ...support.small import assert_same, reached, speech, states
from ..test_edge_shapes import ENOUGH, METHODS, learn


def four_layers(family: str, large: bool) -> tuple[SpeechEncoder, Any]:
    """Return an encoder of four layers and transformers' model with the same weights."""
    shape = small_shape(family, large, layers=4)
    encoder = random_encoder(shape).eval()
    baselines.randomise(encoder)
    model: Any = baselines.transformers_model(shape)
    names = set(model.state_dict())
    model.load_state_dict(
        {name: tensor for name, tensor in encoder.state_dict().items() if name in names}
    )
    return encoder, model


def origins(smaller: SpeechEncoder, encoder: SpeechEncoder) -> list[int]:
    """Return which layers of `encoder` remain, told by a bias that is different in every layer."""
    biases = [layer.final_layer_norm.bias for layer in encoder.encoder.layers]
    return [
        next(number for number, bias in enumerate(biases) if torch.equal(bias, own))
        for own in (layer.final_layer_norm.bias for layer in smaller.encoder.layers)
    ]


def silence(encoder: SpeechEncoder, number: int, pre_norm: bool) -> None:
    """Let a layer do nothing (pre-norm) or nearly nothing: its LayerNorms only."""
    layer: Any = encoder.encoder.layers[number]
    with torch.no_grad():
        for linear in (layer.attention.out_proj, layer.feed_forward.output_dense):
            linear.weight.zero_()
            linear.bias.zero_()
        if not pre_norm:
            for norm in (layer.layer_norm, layer.final_layer_norm):
                norm.weight.fill_(1.0)
                norm.bias.fill_(1e-6 * number)  # so that `origins` can tell them apart


@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_equals_transformers_with_fewer_layers(family: str, large: bool, tmp_path: Path) -> None:
    model = baselines.transformers_model(small_shape(family, large, layers=3))
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    encoder = load(tmp_path)
    (waveform,) = baselines.noise(9_000)
    for keep in (3, 2, 1, 0):
        config = copy.deepcopy(model.config)
        config.num_hidden_layers = keep
        theirs = type(model)(config).eval()
        own = theirs.state_dict()
        kept = {name: value for name, value in model.state_dict().items() if name in own}
        theirs.load_state_dict(kept, strict=True)

        smaller = compress(encoder, "layers", keep=keep).eval()

        expected = baselines.transformers_states(theirs, waveform)
        assert len(smaller.shape.layers) == keep
        assert len(expected) == keep + 1
        found = baselines.states_of(smaller, [waveform])
        assert baselines.largest_difference(found, expected) <= TOLERANCE


@pytest.mark.parametrize("kept", [(0, 2, 3), (1, 3), (0, 1, 3), (2,)])
@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_equals_transformers_with_layers_deleted(
    family: str, large: bool, kept: tuple[int, ...]
) -> None:
    encoder, model = four_layers(family, large)
    stack = model.encoder.layers
    table = stack[0].attention.rel_attn_embed if family == "wavlm" else None
    model.encoder.layers = torch.nn.ModuleList(stack[number] for number in kept)
    if table is not None:  # the table of layer 0 serves all layers
        model.encoder.layers[0].attention.rel_attn_embed = table

    smaller = rebuild(encoder, {}, kept=kept).eval()

    (waveform,) = baselines.noise(9_000)
    expected = baselines.transformers_states(model, waveform)
    assert len(expected) == len(kept) + 1
    found = baselines.states_of(smaller, [waveform])
    assert baselines.largest_difference(found, expected) <= TOLERANCE


def test_every_removes_layers_at_equal_distances() -> None:
    encoder = small.small_encoder(layers=12)
    for remove, distance in ((1 / 2, 2), (1 / 3, 3), (1 / 4, 4), (1 / 6, 6)):
        smaller = compress(encoder, "layers", remove_fraction=remove, criterion="every")
        # LayerDrop removes the layers at depth d, counted from 1, where d mod distance is 0.
        assert origins(smaller, encoder) == [d - 1 for d in range(1, 13) if d % distance]
    assert origins(compress(encoder, "layers", keep=5, criterion="every"), encoder) == [
        0, 2, 4, 7, 9,
    ]  # fmt: skip
    assert origins(compress(encoder, "layers", remove_fraction=0.4), encoder) == list(range(7))


@pytest.mark.parametrize("pre_norm", [False, True])
def test_similarity_removes_the_layers_that_do_least(pre_norm: bool, tones: Path) -> None:
    encoder = small.small_encoder(layers=4, pre_norm=pre_norm)
    for number in (1, 2):
        silence(encoder, number, pre_norm)
    settings = {"criterion": "similarity", "audio": tones}
    assert origins(compress(encoder, "layers", keep=2, **settings), encoder) == [0, 3]
    # Of two that do equally little, here nothing, the upper one is removed first.
    assert origins(compress(encoder, "layers", keep=3, **settings), encoder) == [0, 1, 3]
    if pre_norm:
        smaller = compress(encoder, "layers", keep=2, repeat_states=True, **settings)
        assert_same(smaller, encoder, speech(3000, 5000), tolerance=1e-6)


def test_similarity_records_the_audio_without_its_path(tones: Path) -> None:
    encoder = small_encoder("hubert", False)
    smaller = compress(
        encoder, "layers", keep=1, criterion="similarity", audio=tones, audio_seconds=1
    )
    (step,) = smaller.provenance.steps[-1:]
    assert isinstance(step, MethodStep)
    assert step.settings.keys() == {"keep", "criterion", "audio", "audio_seconds", "seed"}
    assert "sha256" in step.settings["audio"]
    assert str(tones.parent) not in str(step.settings)


@pytest.mark.parametrize("criterion", ["top", "every", "similarity"])
@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_removing_nothing_changes_nothing(
    family: str, large: bool, criterion: str, tones: Path
) -> None:
    encoder = small_encoder(family, large)
    settings = {"audio": tones} if criterion == "similarity" else {}
    for options in ({"keep": 2}, {"remove_fraction": 0.0}, {"keep": 2, "merge": True}):
        for repeat in (False, True):
            same = compress(
                encoder,
                "layers",
                criterion=criterion,
                repeat_states=repeat,
                **settings,
                **options,  # type: ignore[arg-type]
            )
            assert same.shape == encoder.shape
            assert fingerprint(same) == fingerprint(encoder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"criterion": "similarity"}, "measured on speech: give audio"),
        ({"criterion": "least"}, "criterion: must be 'top', 'similarity' or 'every'"),
        ({"audio": "nowhere"}, "audio needs the criterion similarity"),
        ({"audio_seconds": 5}, "audio_seconds needs the criterion similarity"),
        ({"criterion": "similarity", "audio": "nowhere"}, "nowhere"),
        ({"keep": None, "remove_fraction": 1.5}, "remove_fraction: must be less than"),
        ({"keep": 0, "merge": True}, "merge needs at least one layer that stays"),
    ],
)
def test_impossible_settings_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        compress(small_encoder("hubert", False), "layers", **{"keep": 1, **settings})
    assert "\n" not in str(raised.value)


def test_lower_states_stay_and_nothing_is_shared() -> None:
    encoder = small_encoder("hubert", False)
    before = fingerprint(encoder)
    smaller = compress(encoder, "layers", keep=1)
    (whole,), (part,) = states(encoder, speech(3000)), states(smaller, speech(3000))
    for full, own in zip(whole[:2], part, strict=True):
        assert torch.equal(full, own)
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.zero_()
    assert fingerprint(encoder) == before
    last = smaller.provenance.steps[-1]
    assert isinstance(last, MethodStep)
    assert (last.method, last.settings) == ("layers", {"keep": 1})


def test_all_layers_may_stay() -> None:
    encoder = small_encoder("wavlm", True)
    assert fingerprint(compress(encoder, "layers", keep=2)) == fingerprint(encoder)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (3, "method layers: keep 3 is more than the 2 layers of this encoder"),
        (-1, "keep: must be greater than or equal to 0; got -1"),
        ("two", "keep: must be a valid integer, .*; got 'two'"),
        (None, "give either keep, the number of layers that stay, or remove_fraction"),
    ],
)
def test_impossible_numbers_are_one_line(keep: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        compress(small_encoder("hubert", False), "layers", keep=keep)
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="give either keep"):
        compress(small_encoder("hubert", False), "layers")
    with pytest.raises(InputError, match="give either keep"):
        compress(small_encoder("hubert", False), "layers", keep=1, remove_fraction=0.5)


@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_an_encoder_without_layers_is_an_encoder(family: str, large: bool, tmp_path: Path) -> None:
    encoder = small_encoder(family, large)
    none = compress(encoder, "layers", keep=0).eval()
    waveforms = speech(3000, 8000)
    hidden, counts = none(waveforms)
    assert len(hidden) == 1
    assert hidden[0].shape == (2, int(counts.max()), encoder.shape.hidden)
    assert_same(none, load(save(none, tmp_path / "ours")), waveforms, tolerance=0)
    assert 0 < nonzero_parameters(none) < nonzero_parameters(encoder)
    assert 0 < macs(none.shape, (8000,)) < macs(encoder.shape, (8000,))
    assert cost(none).parameters == cost(none.shape).parameters == nonzero_parameters(none)
    assert forward_bytes(none.shape, 1, 16_000) > 0
    for padding in ("independent", "fairseq"):
        none.padding = padding  # type: ignore[assignment]
        assert all(torch.isfinite(state).all() for state in none(waveforms)[0])


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_an_encoder_without_layers_goes_to_transformers_and_back(
    family: str, large: bool, dense: bool, tmp_path: Path
) -> None:
    import transformers

    none = compress(small_encoder(family, large), "layers", keep=0).eval()
    folder = export_transformers(none, tmp_path / "out", dense=dense)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    waveforms = speech(8000)
    theirs = baselines.transformers_states(model, waveforms[0])
    assert baselines.largest_difference(baselines.states_of(none, waveforms), theirs) <= TOLERANCE
    again = load(folder)
    assert again.shape == none.shape
    assert_same(none, again, waveforms, tolerance=0)


def test_an_encoder_without_layers_is_inspected_and_timed(tmp_path: Path) -> None:
    encoder = small_encoder("hubert", False)
    none = compress(encoder, "layers", keep=0)
    folder = save(none, tmp_path / "none")
    figures = inspect_model(str(folder))
    assert figures["layers"] == 0
    assert figures["ffn_units"] == []
    assert figures["macs_32"] == macs(none.shape)
    assert ("layers", "0") in inspection_rows(figures)
    record = time_upstreams(
        none, encoder, repeats=3, warmup=0, utterances_per_bucket=1, threads=1, device="cpu"
    )
    assert record.buckets[-1].speedup is not None
    assert record.upstream.methods == ("layers(keep=0)",)


TRAINING_FREE: list[tuple[str, dict[str, Any]]] = [
    ("magnitude", {}),
    ("magnitude", {"granularity": "weight"}),
    ("clustering", {}),
    ("clustering", {"form": "share"}),
    ("low_rank", {}),
]


@pytest.mark.parametrize(("method", "settings"), TRAINING_FREE)
def test_without_layers_there_is_nothing_to_prune(method: str, settings: dict[str, Any]) -> None:
    none = compress(small_encoder("wavlm", False), "layers", keep=0)
    with pytest.raises(InputError, match=f"method {method}: .* at most 0.000 of the") as raised:
        compress(none, method, **settings)
    assert "\n" not in str(raised.value)


def test_convolutions_can_still_be_pruned() -> None:
    none = compress(small_encoder("hubert", True), "layers", keep=0)
    smaller = compress(none, "magnitude", units="conv", sparsity=0.3)
    assert reached(smaller, none) == pytest.approx(0.3, abs=0.01)
    assert len(states(smaller, speech(3000))[0]) == 1


def test_nothing_is_left_to_remove() -> None:
    none = compress(small_encoder("hubert", False), "layers", keep=0)
    assert fingerprint(compress(none, "layers", keep=0)) == fingerprint(none)
    with pytest.raises(InputError, match="keep 1 is more than the 0 layers"):
        compress(none, "layers", keep=1)


@pytest.mark.parametrize("name", ENOUGH)
def test_learned_methods_that_need_no_layers(name: str, transcribed: Path) -> None:
    none = compress(small_encoder("hubert", False), "layers", keep=0)
    smaller = learn(none, name, transcribed)
    (utterance,) = states(smaller, speech(3000))
    assert len(utterance) == 1
    assert all(torch.isfinite(state).all() for state in utterance)


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(ENOUGH)))
def test_learned_methods_find_nothing_to_prune(name: str, transcribed: Path) -> None:
    none = compress(small_encoder("wavlm", False), "layers", keep=0)
    with pytest.raises(InputError, match=r"sparsity .* can remove at most 0\.000") as raised:
        learn(none, name, transcribed)
    assert "\n" not in str(raised.value)


def test_the_method_is_listed() -> None:
    info = available()["layers"]
    assert (info.needs, info.learns) == ("nothing", False)
    assert "2004.03844" in info.reference
