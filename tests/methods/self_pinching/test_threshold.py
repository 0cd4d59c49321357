from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.methods.self_pinching.threshold import (
    Threshold,
    inverse_softplus,
    unit_variance,
)


def weights(seed: int, count: int = 2000) -> torch.Tensor:
    return 0.05 * torch.randn(count, generator=torch.Generator().manual_seed(seed))


@given(st.floats(1e-8, 50))
def test_softplus_is_undone(value: float) -> None:
    r = inverse_softplus(torch.tensor(value, dtype=torch.float64))
    assert float(torch.nn.functional.softplus(r)) == pytest.approx(value, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 0.05), st.integers(0, 20))
def test_it_starts_with_what_it_is_told_to_prune(started: float, seed: int) -> None:
    weight = weights(seed)
    threshold = Threshold(weight.abs(), started, 0.1)
    mask = threshold.mask(weight.square(), weight.var())
    assert 1 - mask.mean().item() == pytest.approx(started, abs=2e-3)


def test_the_mask_is_the_step_and_its_gradient_that_of_the_equation() -> None:
    weight = weights(1, 50).double().requires_grad_()
    threshold = Threshold(weight.abs(), 0.3, 0.2).double()
    spread = weight.detach().var()
    mask = threshold.mask(weight.square(), spread)
    size, t = weight.detach().numpy(), threshold.value.item()
    assert np.array_equal(mask.detach().numpy(), (size**2 >= t**2).astype(float))
    tau = 0.2 * float(spread)
    soft = scipy.special.expit((size**2 - t**2) / (2 * tau))
    mask.sum().backward()
    slope = soft * (1 - soft) / (2 * tau)
    assert weight.grad is not None
    assert weight.grad.numpy() == pytest.approx(slope * 2 * size)
    assert threshold.raw_threshold.grad is not None
    outer = scipy.special.expit(threshold.raw_threshold.item())
    assert threshold.raw_threshold.grad.item() == pytest.approx(
        -(slope * 2 * t).sum() * outer * threshold.unit.item()
    )


def test_a_threshold_rises_until_a_density_is_reached() -> None:
    weight = weights(2)
    threshold = Threshold(weight.abs(), 0.02, 0.1)
    optimizer = torch.optim.Adam(threshold.parameters(), lr=0.2, betas=(0.0, 0.999))
    for step in range(300):
        density = threshold.mask(weight.square(), weight.var()).mean()
        optimizer.zero_grad()
        torch.relu(density - (1 - 0.5 * min(1, step / 250))).backward()
        optimizer.step()
    assert density.item() == pytest.approx(0.5, abs=0.03)


def test_the_scale_of_the_weights_changes_nothing() -> None:
    one, other = weights(4), 1000 * weights(4)
    assert Threshold(one.abs(), 0.05, 0.1).raw_threshold.item() == pytest.approx(
        Threshold(other.abs(), 0.05, 0.1).raw_threshold.item(), abs=1e-3
    )


def test_a_unit_of_one_gaussian_weight_has_the_spread_of_that_weight() -> None:
    weight = weights(3, 200_000)
    assert float(unit_variance(weight.square())) == pytest.approx(float(weight.var()), rel=0.02)
