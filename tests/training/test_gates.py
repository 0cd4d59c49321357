from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.training.gates import HardConcrete


def gates_at(log_alpha: float, straight_through: bool, size: int = 20_000) -> HardConcrete:
    gates = HardConcrete(size, straight_through=straight_through)
    torch.nn.init.constant_(gates.log_alpha, log_alpha)
    return gates


@pytest.mark.parametrize("straight_through", [True, False])
@settings(max_examples=10, deadline=None)
@given(log_alpha=st.floats(-4, 4))
def test_gates_are_open_as_often_as_they_say(straight_through: bool, log_alpha: float) -> None:
    torch.manual_seed(0)
    gates = gates_at(log_alpha, straight_through)
    found = (gates() > 0).float().mean().item()
    expected = gates.open_probability()[0].item()
    assert found == pytest.approx(expected, abs=0.015)


def test_half_of_the_gates_is_not_83_percent() -> None:
    """The trap: rounded gates with the probability of gates that are not rounded."""
    rounded, soft = gates_at(0.0, True), gates_at(0.0, False)
    assert rounded.open_probability()[0].item() == 0.5
    assert soft.open_probability()[0].item() == pytest.approx(0.832, abs=0.001)


@pytest.mark.parametrize("straight_through", [True, False])
@pytest.mark.parametrize("drop", [0.01, 0.5])
def test_gates_start_as_closed_as_asked(straight_through: bool, drop: float) -> None:
    gates = HardConcrete(3, drop=drop, straight_through=straight_through)
    torch.testing.assert_close(gates.open_probability(), torch.full((3,), 1 - drop))


def test_straight_through_is_hard_forward_and_soft_backward() -> None:
    torch.manual_seed(0)
    rounded, soft = gates_at(0.3, True, 1000), gates_at(0.3, False, 1000)
    torch.manual_seed(1)
    values = rounded()
    torch.manual_seed(1)
    expected = soft()
    assert set(values.tolist()) == {0.0, 1.0}
    assert torch.equal(values, (expected > 0.5).float())
    values.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(rounded.log_alpha.grad, soft.log_alpha.grad)
    assert float(soft.log_alpha.grad.abs().max()) > 0


def test_eval_mode_is_deterministic_and_agrees_with_hard() -> None:
    for straight_through in (True, False):
        gates = HardConcrete(101, straight_through=straight_through).eval()
        with torch.no_grad():
            gates.log_alpha.copy_(torch.linspace(-6, 6, 101))
        assert torch.equal(gates(), gates())
        assert torch.equal(gates() > 0, gates.hard())
    assert int(gates.hard().sum()) == int((gates.log_alpha > math.log(1 / 11)).sum())


def test_the_noise_follows_torch_s_seed() -> None:
    gates = gates_at(0.0, True, 50)
    torch.manual_seed(3)
    first = gates()
    torch.manual_seed(3)
    assert torch.equal(first, gates())
    assert not torch.equal(first, gates())


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_an_impossible_start(drop: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        HardConcrete(3, drop=drop)
