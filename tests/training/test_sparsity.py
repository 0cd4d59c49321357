from __future__ import annotations

import pytest
import torch

from s3prl_compress.surgery.gates import HardConcrete
from s3prl_compress.training.sparsity import SparsityLagrangian


def test_the_target_rises_and_stays() -> None:
    control = SparsityLagrangian(0.8, 4)
    assert [control.target_at(step) for step in (0, 1, 2, 3, 4, 9)] == pytest.approx(
        [0, 0.2, 0.4, 0.6, 0.8, 0.8]
    )
    assert SparsityLagrangian(0.8, 0).target_at(0) == 0.8
    assert SparsityLagrangian(0.5, 4, start=-1.0).target_at(2) == pytest.approx(-0.25)


def test_the_penalty_is_the_lagrangian() -> None:
    control = SparsityLagrangian(0.5, 0)
    with torch.no_grad():
        control.lambda1.fill_(-2.0)
        control.lambda2.fill_(3.0)
    penalty = control.penalty(torch.tensor(0.1), 0)
    assert float(penalty) == pytest.approx(-2 * -0.4 + 3 * 0.16)
    penalty.backward()
    assert float(control.lambda1.grad) == pytest.approx(-0.4)
    assert float(control.lambda2.grad) == pytest.approx(0.16)


@pytest.mark.parametrize("straight_through", [True, False])
@pytest.mark.parametrize("target", [0.3, 0.75])
def test_ascent_brings_gates_to_the_target(straight_through: bool, target: float) -> None:
    """The gates would rather stay open: each closed one costs, the last of them most."""
    torch.manual_seed(0)
    gates = HardConcrete(
        200, drop=0.01 if straight_through else 0.05, straight_through=straight_through
    )
    cost = torch.linspace(0.0, 1.0, 200)
    control = SparsityLagrangian(target, 300)
    optimizer = torch.optim.AdamW(
        [
            {"params": gates.parameters(), "lr": 0.05},
            {"params": control.parameters(), "lr": 0.2, "maximize": True},
        ],
        weight_decay=0.0,
    )
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 1000)
    for step in range(1000):
        sparsity = 1 - gates.open_probability().mean()
        loss = (cost * (1 - gates())).mean() + control.penalty(sparsity, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert float(sparsity.detach()) == pytest.approx(target, abs=0.03)
    closed = gates.log_alpha.argsort()[: int(200 * target)]
    assert int((closed < 200 * target).sum()) > 0.8 * len(closed)  # the cheap ones went
