from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.distillation.layers import LayerDistillation
from s3prl_compress.distillation.module import DistillationModule
from s3prl_compress.encoder import SpeechEncoder
from s3prl_compress.encoder.cost import nonzero_parameters, stored_bytes
from s3prl_compress.encoder.linear import DenseLinear, SparseLinear, dense_weight
from s3prl_compress.methods import compress
from s3prl_compress.methods.prune_low_rank.gradual_pruning import (
    CubicSchedule,
    GradualPruning,
    MaskedWeights,
)
from s3prl_compress.surgery.parametrized import kept_budget, linears_of, with_dense_linears
from s3prl_compress.surgery.rebuild import get_linear

from ...support.small import assert_same, reached, small_encoder, speech


def masked(encoder: SpeechEncoder) -> MaskedWeights:
    places = list(linears_of(encoder, (DenseLinear, SparseLinear)))
    return MaskedWeights(with_dense_linears(encoder, places), places)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 500))
def test_the_ramp_is_cubic_and_ends_exactly(steps: int, every: int, last: int) -> None:
    schedule = CubicSchedule(1000, last, steps, every)
    due = [step for step in range(steps + 20) if schedule.due(step)]
    assert due[-1] == steps - 1
    assert schedule.weights_left(steps - 1) == last
    left = [schedule.weights_left(step) for step in due]
    assert left == sorted(left, reverse=True)
    halfway = schedule.weights_left(steps // 2 - 1) if steps % 2 == 0 else None
    if halfway is not None:
        assert halfway == round(last + (1000 - last) / 8)


@pytest.mark.parametrize("together", [True, False])
def test_masked_is_what_it_hardens_to(together: bool) -> None:
    encoder = small_encoder()
    student = masked(encoder)
    assert_same(student, encoder, speech(3000), tolerance=1e-6)  # type: ignore[arg-type]
    count = kept_budget(encoder, student.places, 0.4)
    student.keep(count, together=together)
    sparse, dense = student.pruned(), student.with_zeros()
    assert reached(sparse, encoder) == pytest.approx(0.4, abs=2e-3)
    assert stored_bytes(sparse) < 0.75 * stored_bytes(encoder)
    assert nonzero_parameters(dense) == nonzero_parameters(encoder)
    for result in (sparse, dense):
        assert_same(result, student, speech(3000, 4000), tolerance=1e-5)  # type: ignore[arg-type]


def test_it_is_magnitude_pruning_where_nothing_is_trained() -> None:
    encoder = small_encoder()
    student = masked(encoder)
    pruning = GradualPruning(
        CubicSchedule(1, kept_budget(encoder, student.places, 0.3), 4, 2),
        together=True,
        nuclear="none",
        mu=0,
        total=9000,
    )
    for step in range(5):
        pruning.begin(student, step)
    expected = compress(encoder, "magnitude", granularity="weight", scope="global", sparsity=0.3)
    for place in student.places:
        ours, theirs = get_linear(student.pruned(), *place), get_linear(expected, *place)
        assert torch.equal(dense_weight(ours), dense_weight(theirs))


def test_a_sparse_encoder_goes_on_from_its_mask() -> None:
    half = compress(small_encoder(), "magnitude", granularity="weight", sparsity=0.2)
    student = masked(half)
    for place in student.places:
        assert torch.equal(student.mask(place), dense_weight(get_linear(half, *place)) != 0)
    assert kept_budget(half, student.places, 0.0) == sum(
        int(student.mask(place).sum()) for place in student.places
    )


def test_all_batches_of_an_update_run_with_the_same_masks() -> None:
    student = masked(small_encoder())
    target = kept_budget(student.encoder, student.places, 0.3)
    first = kept_budget(student.encoder, student.places, 0.0)
    schedule = CubicSchedule(first, target, 2)
    pruning = GradualPruning(schedule, together=True, nuclear="none", mu=0, total=9000)
    distance = LayerDistillation(student.shape, student.shape, (0, 2))
    model = DistillationModule(student, small_encoder(), distance, pruning, seed=0)
    used: list[int] = []
    student.encoder.register_forward_pre_hook(
        lambda module, inputs: used.append(sum(int(student.mask(p).sum()) for p in student.places))
    )
    for step in range(3):
        for _ in range(3):
            model(speech(3000), step=step, weight=1.0)
    assert used == [schedule.weights_left(0)] * 3 + [target] * 6


@pytest.mark.parametrize("nuclear", ["fast", "exact"])
def test_the_nuclear_term_comes_after_the_ramp(nuclear: str) -> None:
    student = masked(small_encoder())
    pruning = GradualPruning(
        CubicSchedule(5000, 2000, 3),
        together=True,
        nuclear=nuclear,  # type: ignore[arg-type]
        mu=0.5,
        total=9000,  # type: ignore[arg-type]
    )
    for step in range(4):
        pruning.begin(student, step)
    assert pruning(student, 2)["loss"].item() == 0
    found = pruning(student, 3)
    expected = sum(
        np.linalg.norm(w.detach().numpy(), "nuc") / w.numel() ** 0.5
        for w in student.weights().values()
    )
    if nuclear == "exact":
        assert found["nuclear_norm"].item() == pytest.approx(expected, rel=1e-3)
    assert found["nuclear_norm"].item() >= 0.999 * expected
    assert found["loss"].item() == pytest.approx(0.5 * found["nuclear_norm"].item())
    found["loss"].backward()
    weight = student.encoder.get_parameter("encoder.layers.0.attention.q_proj.weight")
    assert weight.grad is not None
    assert weight.grad[~student.mask((0, "q"))].abs().max() == 0
