from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from s3prl_compress.common.errors import InputError
from s3prl_compress.training.loop import train
from s3prl_compress.training.settings import LoopSettings


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(4, 16), nn.GELU(), nn.Linear(16, 1))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        loss = (self.layers(x)[:, 0] - y).square().mean()
        return {"loss": loss, "doubled": 2 * loss.detach()}


class KilledError(Exception):
    pass


def batches(first: int, killed_at: int | None = None) -> Iterator[dict[str, Any]]:
    number = first
    while True:
        if number == killed_at:
            raise KilledError
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(number))
        yield {"x": x, "y": x[:, 0] * x[:, 1]}
        number += 1


def settings(**changes: Any) -> LoopSettings:
    values: dict[str, Any] = {
        "steps": 12,
        "learning_rate": 0.01,
        "warmup_steps": 3,
        "accumulation": 2,
        "log_every": 2,
        "checkpoint_every": 4,
        "precision": "no",
    }
    return LoopSettings(**values | changes)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, precision: str) -> None:
    wanted = settings(precision=precision)
    undisturbed, resumed = Regression(), Regression()
    expected = train(undisturbed, batches, wanted, tmp_path / "whole")
    for kill in (3, 11, 19):  # in step 1, before any checkpoint; in step 5; in step 9
        with pytest.raises(KilledError):
            train(
                Regression(),
                lambda first, at=kill: batches(first, at),
                wanted,
                tmp_path / "cut",
            )
    found = train(resumed, batches, wanted, tmp_path / "cut")
    for name, parameter in undisturbed.state_dict().items():
        assert torch.equal(parameter, resumed.state_dict()[name])
    assert found.training == expected.training
    assert len(found.training) == 6


def test_a_finished_run_is_only_loaded(tmp_path: Path) -> None:
    first, again = Regression(), Regression()
    train(first, batches, settings(), tmp_path)
    progress = train(again, lambda number: batches(number, number), settings(), tmp_path)
    assert progress.step == 12
    assert torch.equal(first.layers[0].weight, again.layers[0].weight)


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    def doubled(first: int) -> Iterator[dict[str, Any]]:
        source = batches(2 * first)
        while True:
            one, two = next(source), next(source)
            yield {name: torch.cat([one[name], two[name]]) for name in one}

    small, large = Regression(), Regression()
    train(small, batches, settings(), tmp_path / "small")
    train(large, doubled, settings(accumulation=1), tmp_path / "large")
    torch.testing.assert_close(small.layers[0].weight, large.layers[0].weight)


def test_the_loss_falls_and_is_written_down(tmp_path: Path) -> None:
    progress = train(
        Regression(),
        batches,
        settings(steps=200, checkpoint_every=100, precision="bf16"),
        tmp_path,
        validate=lambda model: {"loss": model(**next(batches(10_000)))["loss"].item()},
    )
    assert progress.training[-1]["loss"] < progress.training[0]["loss"] / 4
    assert progress.training[-1]["doubled"] == pytest.approx(
        2 * progress.training[-1]["loss"], rel=1e-5
    )
    assert [entry["step"] for entry in progress.validation] == [100, 200]
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model = Regression()
    train(model, batches, settings(precision="bf16"), tmp_path)
    x = torch.randn(2, 4)
    with torch.no_grad():
        expected = model.layers(x)[:, 0].square().mean()
    assert torch.equal(model(x, torch.zeros(2))["loss"], expected)


def test_another_run_s_state_is_refused(tmp_path: Path) -> None:
    train(Regression(), batches, settings(), tmp_path, identity="one")
    with pytest.raises(InputError, match="other settings"):
        train(Regression(), batches, settings(), tmp_path, identity="two")


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    train(Regression(), batches, settings(), tmp_path)
    (tmp_path / "state" / "state.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be read"):
        train(Regression(), batches, settings(), tmp_path)
    (tmp_path / "state" / "state.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        train(Regression(), batches, settings(), tmp_path)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    train(Regression(), batches, settings(), tmp_path)
    other = Regression()
    other.layers[2] = nn.Linear(16, 3)
    with pytest.raises(InputError, match="another model"):
        train(other, batches, settings(), tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    def broken(first: int) -> Iterator[dict[str, Any]]:
        for batch in batches(first):
            yield {"x": batch["x"], "y": batch["y"] * float("inf")}

    with pytest.raises(InputError, match="is not finite at step 2"):
        train(Regression(), broken, settings(), tmp_path)
    assert not (tmp_path / "state").exists()


def test_the_rate_rises_and_falls() -> None:
    wanted = settings(steps=10, warmup_steps=4)
    rates = [wanted.rate(step) for step in range(10)]
    assert rates[4] == max(rates) == 0.01
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[0] > 0 < rates[-1]


@pytest.mark.parametrize(
    "wrong", [{"warmup_steps": 12}, {"checkpoint_every": 5}, {"learning_rate": 0}]
)
def test_impossible_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)
