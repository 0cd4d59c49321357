from __future__ import annotations

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder
from s3prl_compress.encoder.cost import nonzero_parameters, stored_bytes
from s3prl_compress.encoder.linear import DenseLinear, SparseLinear, dense_weight
from s3prl_compress.methods import compress
from s3prl_compress.methods.self_pinching.thresholded import (
    DensityPenalty,
    ThresholdedEncoder,
    ThresholdedUnits,
    ThresholdedWeights,
)
from s3prl_compress.surgery.parametrized import linears_of
from s3prl_compress.surgery.rebuild import get_linear

from ...support.small import assert_same, reached, small_encoder, speech


def weights(encoder: SpeechEncoder, started: float) -> ThresholdedWeights:
    return ThresholdedWeights(encoder, list(linears_of(encoder, (DenseLinear,))), started, 0.1)


def units(encoder: SpeechEncoder, started: float) -> ThresholdedUnits:
    return ThresholdedUnits(encoder, ("ffn", "qk", "vo"), started, 0.1)


def run(student: ThresholdedEncoder) -> float:
    with torch.no_grad():
        student(speech(3000))
        return student.density().item()


@pytest.mark.parametrize("make", [weights, units])
def test_nothing_pruned_is_the_encoder(make: type[ThresholdedEncoder]) -> None:
    encoder = small_encoder()
    student = make(small_encoder(), 0.0)  # type: ignore[arg-type, call-arg]
    assert run(student) > 0.995
    assert_same(student, encoder, speech(3000), tolerance=2e-2)  # type: ignore[arg-type]


def test_pinched_weights_are_what_they_harden_to() -> None:
    student = weights(small_encoder(), 0.3)
    density = run(student)
    total = nonzero_parameters(student.encoder)
    pruned = student.pruned(1 - density)
    assert nonzero_parameters(pruned) == round(total * density)
    assert_same(pruned, student, speech(3000, 4000), tolerance=1e-4)  # type: ignore[arg-type]
    assert stored_bytes(pruned) < stored_bytes(student.encoder)
    # In a matrix nothing that stays is smaller than what goes.
    for place in student.places:
        before = dense_weight(get_linear(student.encoder, *place)).detach().abs()
        kept = dense_weight(get_linear(pruned, *place)) != 0
        assert before[kept].min() >= before[~kept].max()


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_pinched_units_are_what_they_shrink_to(family: str) -> None:
    student = units(small_encoder(family), 0.34)  # type: ignore[arg-type]
    density = run(student)
    assert density < 0.9
    total = nonzero_parameters(student.encoder)
    shrunk = student.pruned(1 - density)
    assert abs(nonzero_parameters(shrunk) - total * density) <= 49  # one unit
    if nonzero_parameters(shrunk) == round(total * density):
        assert_same(shrunk, student, speech(3000, 4000), tolerance=1e-4)  # type: ignore[arg-type]
    assert {len(layer.heads) for layer in shrunk.shape.layers} == {3}


@pytest.mark.parametrize(("make", "tolerance"), [(weights, 1e-4), (units, 0.01)])
@pytest.mark.parametrize("sparsity", [0.1, 0.25])
def test_the_target_is_met_wherever_the_thresholds_are(
    make: type[ThresholdedEncoder], tolerance: float, sparsity: float
) -> None:
    for started in (0.01, 0.5):
        student = make(small_encoder(), started)  # type: ignore[arg-type, call-arg]
        assert reached(student.pruned(sparsity), student.encoder) == pytest.approx(
            sparsity, abs=tolerance
        )


def test_thresholds_say_where_more_goes() -> None:
    student = weights(small_encoder(), 0.2)
    with torch.no_grad():
        student.threshold("0_fc1").raw_threshold += 2
    pruned = student.pruned(0.25)
    density = {
        place: float((dense_weight(get_linear(pruned, *place)) != 0).float().mean())
        for place in student.places
    }
    assert min(density, key=density.__getitem__) == (0, "fc1")


def test_what_was_zero_stays_zero() -> None:
    half = compress(small_encoder(), "magnitude", granularity="weight", sparsity=0.2)
    places = list(linears_of(half, (SparseLinear,)))
    from s3prl_compress.surgery.parametrized import with_dense_linears

    student = ThresholdedWeights(with_dense_linears(half, places), places, 0.02, 0.1)
    assert student.total == nonzero_parameters(half)
    assert reached(student.pruned(0.2), half) == pytest.approx(0.2, abs=1e-3)
    student(speech(3000))[0][-1].sum().backward()
    weight = get_linear(student.encoder, 0, "q").weight
    assert weight.grad is not None  # type: ignore[union-attr]
    assert weight.grad[weight == 0].abs().max() == 0  # type: ignore[index, union-attr]


def test_units_of_factored_linears_are_left_alone() -> None:
    factored = compress(small_encoder(), "low_rank", linears="fc1", sparsity=0.01)
    layers = [n for n, layer in enumerate(factored.shape.layers) if layer.fc1.kind == "low_rank"]
    assert layers
    student = units(factored, 0.1)
    assert not {(layer, "ffn") for layer in layers} & set(student.groups)


def test_too_much_is_refused() -> None:
    with pytest.raises(InputError, match=r"self_pinching.*can remove at most"):
        units(small_encoder(), 0.1).pruned(0.9)


@pytest.mark.parametrize("make", [weights, units])
def test_the_penalty_moves_the_thresholds_to_the_target(make: type[ThresholdedEncoder]) -> None:
    student = make(small_encoder(), 0.02)  # type: ignore[arg-type, call-arg]
    penalty = DensityPenalty(0.15, eta=1.0, ramp_steps=60)
    assert [round(penalty.target_at(step), 3) for step in (29, 59, 100)] == [0.075, 0.15, 0.15]
    optimizer = torch.optim.Adam(student.thresholds.parameters(), lr=0.4, betas=(0.0, 0.999))
    for step in range(90):
        student(speech(400))
        scalars = penalty(student, step)
        optimizer.zero_grad()
        scalars["loss"].backward()
        optimizer.step()
    assert scalars["sparsity"].item() == pytest.approx(0.15, abs=0.04)
