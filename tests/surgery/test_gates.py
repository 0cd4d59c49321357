from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.surgery.gates import HardConcrete


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


@pytest.mark.parametrize("drop", [0.01, 0.5])
def test_rounded_gates_start_as_closed_as_asked(drop: float) -> None:
    gates = HardConcrete(3, drop=drop)
    torch.testing.assert_close(gates.open_probability(), torch.full((3,), 1 - drop))


# From here on `PUBLISHED` are figures of DPHuBERT's own code: github.com/pyf98/DPHuBERT at commit
# c18093fe4b56a0027a80bf9b9b1a23f932cbf14c, class HardConcrete of wav2vec2/hardconcrete.py.


@pytest.mark.parametrize(
    ("drop", "location", "expected"), [(0.01, 4.5951, 0.9980), (0.5, 0.0, 0.8318)]
)
def test_soft_gates_start_as_published(drop: float, location: float, expected: float) -> None:
    """PUBLISHED: mean of log_alpha and l0_norm() / n_in of 20,000 gates with init_mean = drop."""
    gates = HardConcrete(3, drop=drop, straight_through=False)
    torch.testing.assert_close(
        gates.log_alpha.detach(), torch.full((3,), location), atol=1e-4, rtol=0
    )
    found = gates.open_probability()
    torch.testing.assert_close(found, torch.full((3,), expected), atol=1e-4, rtol=0)


PUBLISHED = [
    (
        [-4.0, -1.5, -0.5, 0.5, 2.0, 5.0],
        4.220465,
        [0.0, 0.0, 0.354344, 0.645656, 0.916827, 0.997528],
    ),
    (
        [-6.0, -3.0, -2.0, -1.5, -1.0, 0.0, 1.0, 3.0],
        4.533273,
        [0.0, 0.0, 0.0, 0.141851, 0.231475, 0.5, 0.768525, 0.973403],
    ),
    ([-5.0, -5.5, -4.5, -6.0], 0.116261, [0.0, 0.0, 0.0, 0.0]),
]
"""log_alpha, l0_norm(), and the mask in eval mode, of one module each."""


def test_soft_gates_in_eval_mode_are_the_published_ones() -> None:
    modules = [len(log_alpha) for log_alpha, _, _ in PUBLISHED]
    gates = HardConcrete(sum(modules), straight_through=False, modules=modules).eval()
    with torch.no_grad():
        gates.log_alpha.copy_(torch.tensor([x for log_alpha, _, _ in PUBLISHED for x in log_alpha]))
    for found, (_, expected, _) in zip(
        gates.open_probability().split(modules), PUBLISHED, strict=True
    ):
        assert float(found.detach().sum()) == pytest.approx(expected, abs=1e-5)
    masks = torch.tensor([x for _, _, mask in PUBLISHED for x in mask])
    torch.testing.assert_close(gates().detach(), masks, atol=1e-5, rtol=0)
    assert torch.equal(gates.hard(), masks > 0)


def test_fixed_gates_keep_the_scale_that_they_learned() -> None:
    for straight_through, scale in ((True, 1.0), (False, 0.354344)):
        gates = gates_at(-0.5, straight_through, size=4).eval()
        wanted = torch.tensor([True, False, False, True])
        gates.set_gates(wanted)
        assert torch.equal(gates.hard(), wanted)
        torch.testing.assert_close(gates().detach(), scale * wanted.float(), atol=1e-5, rtol=0)
    sure = gates_at(-500.0, False, size=4).eval()
    sure.set_gates(wanted)
    assert torch.equal(sure() > 0, wanted)


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
