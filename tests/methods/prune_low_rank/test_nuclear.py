from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.methods.prune_low_rank.nuclear import (
    exact_nuclear_norm,
    fast_nuclear_norm,
    nuclear_term,
    polar_factor,
)


def matrix(rows: int, columns: int, seed: int, rank: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(rows, columns, generator=generator)
    left = torch.randn(rows, rank, generator=generator)
    return left @ torch.randn(rank, columns, generator=generator)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 50))
def test_the_exact_norm_is_numpys_and_the_fast_one_is_above_it(m: int, n: int, seed: int) -> None:
    weight = matrix(m, n, seed)
    expected = np.linalg.norm(weight.numpy(), "nuc")
    # Singular values near zero are missed, and count for as little.
    assert float(exact_nuclear_norm(weight)) == pytest.approx(expected, rel=1e-3)
    assert float(fast_nuclear_norm(weight)) >= expected * (1 - 1e-5)
    assert float(fast_nuclear_norm(weight)) <= min(m, n) ** 0.5 * np.linalg.norm(weight) * 1.0001


def test_the_fast_norm_goes_along_the_shorter_side() -> None:
    weight = matrix(3, 8, 0)
    rows = np.linalg.norm(weight.numpy(), axis=1).sum()
    assert float(fast_nuclear_norm(weight)) == pytest.approx(rows)
    assert float(fast_nuclear_norm(weight.t())) == pytest.approx(rows)


@pytest.mark.parametrize("size", [(6, 9), (9, 6), (7, 7)])
def test_the_polar_factor_is_scipys(size: tuple[int, int]) -> None:
    weight = matrix(*size, seed=1)
    expected, _ = scipy.linalg.polar(weight.double().numpy())
    assert np.abs(polar_factor(weight).numpy() - expected).max() < 1e-3


def test_the_gradient_is_that_of_torchs_nuclear_norm() -> None:
    ours, theirs = matrix(6, 9, 3).requires_grad_(), matrix(6, 9, 3).requires_grad_()
    exact_nuclear_norm(ours).backward()
    torch.linalg.matrix_norm(theirs, "nuc").backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)


def test_a_mask_stops_the_gradient_and_zeros_harm_nothing() -> None:
    weight = matrix(5, 7, 4).requires_grad_()
    mask = (matrix(5, 7, 5) > 0).float()
    mask[2] = 0  # a row without any weight
    for form in ("fast", "exact"):
        weight.grad = None
        nuclear_term([weight * mask], form).backward()  # type: ignore[arg-type]
        assert weight.grad is not None
        assert torch.isfinite(weight.grad).all()
        assert weight.grad[mask == 0].abs().max() == 0
        assert weight.grad[mask == 1].abs().max() > 0
    assert float(exact_nuclear_norm(torch.zeros(3, 3))) == 0


def test_the_term_lowers_the_rank_that_energy_needs() -> None:
    """Soft thresholding: the proximal step of the nuclear norm makes small values smaller."""
    weight = matrix(12, 12, 6).requires_grad_()
    before = torch.linalg.svdvals(weight.detach())
    optimizer = torch.optim.SGD([weight], lr=2.0)
    for _ in range(10):
        optimizer.zero_grad()
        nuclear_term([weight], "exact").backward()
        optimizer.step()
    after = torch.linalg.svdvals(weight.detach())
    assert after[-3:].sum() / after.sum() < 0.5 * before[-3:].sum() / before.sum()


def test_the_term_without_a_form_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no term"):
        nuclear_term([torch.ones(2, 2)], "none")
