"""Encoders that repeat hidden states in the place of removed layers, through everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from s3prl_compress.cli.inspection import inspect_model, inspection_rows
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    CTCHead,
    EncoderShape,
    SpeechEncoder,
    fingerprint,
    load,
    macs,
    random_encoder,
    save,
)
from s3prl_compress.encoder.exporters.transformers import export_notes, export_transformers
from s3prl_compress.methods import compress
from s3prl_compress.surgery import rebuild

from ...support.baselines import NAMES, TOLERANCE, VARIANTS, baselines, small_shape
from ...support.small import assert_same, small_encoder, speech, states
from ..test_edge_shapes import METHODS, learn
from ..test_structured import SMOKE


@pytest.fixture
def repeating() -> SpeechEncoder:
    """Layers 0 and 2 of four."""
    return rebuild(small_encoder(layers=4), {}, kept=[0, 2], repeat_states=True)


@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_a_removed_layer_is_one_that_does_nothing(family: str, large: bool) -> None:
    encoder = random_encoder(small_shape(family, large, layers=5)).eval()
    baselines.randomise(encoder)
    kept = [1, 3]
    smaller = rebuild(encoder, {}, kept=kept, repeat_states=True)
    assert smaller.shape.hidden_states == (0, 0, 1, 1, 2, 2)
    waveforms = speech(3000, 6000)
    for number in set(range(5)) - set(kept):
        encoder.encoder.layers[number].forward = lambda x, mask, bias: x  # type: ignore[method-assign]
    assert_same(smaller, encoder, waveforms, tolerance=1e-6)
    dropped = rebuild(encoder, {}, kept=kept)
    assert dropped.shape.hidden_states is None
    (few,), (many,) = states(dropped, waveforms[:1]), states(smaller, waveforms[:1])
    assert (len(few), len(many)) == (3, 6)
    assert torch.equal(few[-1], many[-1])  # the one that a CTC head reads
    assert torch.equal(few[1], many[2])


def test_the_last_state_alone_is_normalised() -> None:
    encoder = small_encoder(layers=3, pre_norm=True)
    smaller = compress(encoder, "layers", keep=1, repeat_states=True)
    (full,), (own,) = states(encoder, speech(3000)), states(smaller, speech(3000))
    assert smaller.shape.hidden_states == (0, 1, 1, 1)
    assert torch.equal(own[1], full[1])
    assert torch.equal(own[2], full[1])
    assert torch.equal(own[3], encoder.encoder.layer_norm(full[1]))


def test_layers_can_be_removed_again(repeating: SpeechEncoder) -> None:
    assert repeating.shape.hidden_states == (0, 1, 1, 2, 2)
    again = compress(repeating, "layers", keep=1, repeat_states=True)
    assert again.shape.hidden_states == (0, 1, 1, 1, 1)
    # By default the output of the removed layer, which was repeated, is removed.
    assert compress(repeating, "layers", keep=1).shape.hidden_states == (0, 1, 1)
    assert rebuild(repeating, {}, kept=[1]).shape.hidden_states == (0, 1, 1)
    assert compress(repeating, "layers", keep=2).shape == repeating.shape
    none = compress(repeating, "layers", keep=0, repeat_states=True)
    assert none.shape.hidden_states == (0,) * 5
    (own,) = states(none, speech(3000))
    assert all(torch.equal(state, own[0]) for state in own)


def test_it_is_saved_and_loaded(repeating: SpeechEncoder, tmp_path: Path) -> None:
    again = load(save(repeating, tmp_path / "saved"))
    assert again.shape == repeating.shape
    assert fingerprint(again) == fingerprint(repeating)
    assert_same(again, repeating, speech(3000, 4000), tolerance=0)
    dropped = rebuild(small_encoder(layers=4), {}, kept=[0, 2])
    assert fingerprint(dropped) != fingerprint(repeating)


def test_other_shapes_do_not_mention_it(repeating: SpeechEncoder) -> None:
    assert "hidden_states" in json.loads(repeating.shape.model_dump_json())
    assert "hidden_states" not in json.loads(small_encoder().shape.model_dump_json())


@pytest.mark.parametrize(
    "wrong",
    [(), (0,), (0, 1), (0, 1, 2), (0, 2, 1, 2), (1, 1, 2, 2), (0, 0, 2, 2), (0, 1, 2, 3, 3)],
)
def test_impossible_states_are_refused(wrong: tuple[int, ...]) -> None:
    data = small_encoder(layers=2).shape.model_dump()
    EncoderShape.model_validate(data | {"hidden_states": (0, 1, 1, 2)})
    with pytest.raises(ValidationError, match="hidden_states must"):
        EncoderShape.model_validate(data | {"hidden_states": wrong})


def test_it_is_inspected(repeating: SpeechEncoder, tmp_path: Path) -> None:
    figures = inspect_model(str(save(repeating, tmp_path / "repeating")))
    assert (figures["layers"], figures["hidden_states"]) == (2, [0, 1, 1, 2, 2])
    assert ("hidden states", "0, 2 x 1, 2 x 2") in inspection_rows(figures)
    dropped = rebuild(small_encoder(layers=4), {}, kept=[0, 2])
    assert figures["macs_32"] == macs(dropped.shape)
    assert "hidden states" not in dict(inspection_rows({"hidden_states": None}))


@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_transformers_gets_each_state_once(family: str, large: bool, tmp_path: Path) -> None:
    import transformers

    encoder = random_encoder(small_shape(family, large, layers=3)).eval()
    baselines.randomise(encoder)
    repeating = rebuild(encoder, {}, kept=[0, 2], repeat_states=True)
    (note,) = (note for note in export_notes(repeating) if "hidden state" in note)
    assert "1 repeated ones are missing" in note
    folder = export_transformers(repeating, tmp_path / "out")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    waveforms = speech(8000)
    theirs = baselines.transformers_states(model, waveforms[0])
    own = baselines.states_of(rebuild(encoder, {}, kept=[0, 2]), waveforms)
    assert baselines.largest_difference(own, theirs) <= TOLERANCE
    assert torch.equal(own[-1], baselines.states_of(repeating, waveforms)[-1])


def test_a_head_reads_the_last_state(repeating: SpeechEncoder, tmp_path: Path) -> None:
    repeating.head = CTCHead(repeating.shape.hidden, ("<pad>", "a", "b"), 0)
    again = load(save(repeating, tmp_path / "saved"))
    assert again.head is not None
    (own,) = states(again, speech(3000))
    with torch.no_grad():
        assert torch.equal(again.head(own[-1]), repeating.head(own[2 + 1]))


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("magnitude", {}),
        ("magnitude", {"granularity": "weight"}),
        ("clustering", {}),
        ("clustering", {"form": "share"}),
        ("low_rank", {}),
    ],
)
def test_other_methods_keep_the_states(
    method: str, settings: dict[str, Any], repeating: SpeechEncoder
) -> None:
    smaller = compress(repeating, method, sparsity=0.1, **settings)
    assert smaller.shape.hidden_states == repeating.shape.hidden_states
    (own,) = states(smaller, speech(3000))
    assert torch.equal(own[1], own[2])


@pytest.mark.parametrize("name", METHODS)
def test_learned_methods_keep_the_states(
    name: str, repeating: SpeechEncoder, transcribed: Path
) -> None:
    smaller = learn(repeating, name, transcribed)
    assert smaller.shape.hidden_states == repeating.shape.hidden_states
    (own,) = states(smaller, speech(3000))
    assert len(own) == 5
    assert torch.equal(own[3], own[4])


@pytest.mark.parametrize("loss", ["layers", "groups", "relations", "codes"])
def test_it_is_distilled_from_the_whole_model(loss: str, tones: Path) -> None:
    teacher = small_encoder(layers=4)
    student = rebuild(teacher, {}, kept=[0, 2], repeat_states=True)
    settings = SMOKE | {"teacher": teacher, "audio": tones, "loss": loss}
    if loss == "groups":
        settings["groups"] = 2
    if loss == "codes":
        settings["codes"] = 4
    learned = compress(student, "distill", **settings)
    assert learned.shape == student.shape
    assert fingerprint(learned) != fingerprint(student)


def test_a_student_with_fewer_states_is_told_how_to_keep_them(tones: Path) -> None:
    teacher = small_encoder(layers=4)
    student = rebuild(teacher, {}, kept=[0, 2])
    with pytest.raises(InputError, match="repeat_states, which keeps the number of") as raised:
        compress(student, "distill", teacher=teacher, audio=tones, **SMOKE)
    assert "\n" not in str(raised.value)
