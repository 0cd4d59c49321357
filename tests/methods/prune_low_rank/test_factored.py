from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.encoder.linear import DenseLinear, dense_weight
from s3prl_compress.encoder.shape import LINEARS
from s3prl_compress.methods.prune_low_rank.factored import FactoredEncoder, GatedFactors
from s3prl_compress.surgery.parametrized import linears_of
from s3prl_compress.surgery.rebuild import get_linear

from ...support.small import assert_same, small_encoder, speech


def factored() -> FactoredEncoder:
    encoder = small_encoder()
    return FactoredEncoder(encoder, list(linears_of(encoder, (DenseLinear,))))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.data())
def test_factors_are_the_truncated_svd(m: int, n: int, data: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 50)))
    weight = torch.randn(m, n, generator=generator)
    factors = GatedFactors(weight).eval()
    torch.testing.assert_close(factors.weight().detach(), weight, rtol=1e-4, atol=1e-4)
    kept = torch.tensor(data.draw(st.lists(st.booleans(), min_size=min(m, n), max_size=min(m, n))))
    with torch.no_grad():
        factors.gates.log_alpha.copy_(torch.where(kept, 3.0, -3.0))
    factor_in, factor_out = factors.truncated(kept)
    assert factor_in.shape == (int(kept.sum()), n)
    torch.testing.assert_close(
        factor_out @ factor_in, factors.weight().detach(), rtol=1e-4, atol=1e-5
    )


def test_hardened_is_gated_and_dense_where_factors_do_not_pay() -> None:
    student = factored().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for place in student.places:
            odds = student.factored(place).gates.log_alpha
            odds.copy_(torch.randn(odds.shape, generator=generator) - (2 if place[0] else -2))
            student.factored(place).values.mul_(1.3)  # as training may leave them
    ranks = {place: int(student.factored(place).gates.hard().sum()) for place in student.places}
    pruned = student.pruned(ranks)
    assert_same(pruned, student, speech(3000, 4000), tolerance=1e-4)  # type: ignore[arg-type]
    kinds = {
        (number, name): getattr(layer, name).kind
        for number, layer in enumerate(pruned.shape.layers)
        for name in LINEARS
    }
    assert set(kinds.values()) == {"dense", "low_rank"}
    for place, rank in ranks.items():
        rows, columns = dense_weight(get_linear(student.encoder, *place)).shape
        assert (kinds[place] == "low_rank") == (rank * (rows + columns) < rows * columns)


def test_expected_sparsity_starts_below_zero_and_counts_what_is_stored() -> None:
    student = factored()
    assert -1 < student.expected_sparsity().item() < -0.2
    with torch.no_grad():
        for place in student.places:
            odds = student.factored(place).gates.log_alpha
            odds.copy_(torch.where(torch.arange(len(odds)) < 2, 30.0, -30.0))
    pruned = student.pruned(dict.fromkeys(student.places, 2))
    expected = 1 - nonzero_parameters(pruned) / nonzero_parameters(student.encoder)
    assert student.expected_sparsity().item() == pytest.approx(expected, abs=1e-5)
    student.expected_sparsity().backward()
    assert student.factored((0, "q")).gates.log_alpha.grad is not None


@pytest.mark.parametrize("sparsity", [-0.2, 0.1, 0.4])
def test_gates_can_start_by_energy(sparsity: float) -> None:
    student = factored()
    student.init_gates_by_energy(sparsity)
    assert student.expected_sparsity().item() == pytest.approx(sparsity, abs=2e-3)
    for place in student.places:
        odds = student.factored(place).gates.log_alpha.detach()
        assert torch.equal(odds, odds.sort(descending=True).values)
        assert student.strongest(place, 2).tolist()[:3] == [True, True, False]
