"""Learned methods where the given encoder is on one device and training on another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from s3prl_compress.distillation import stage as learned
from s3prl_compress.encoder import dense_shape, random_encoder
from s3prl_compress.methods import compress
from s3prl_compress.training import finetuning

from ..methods.test_structured import SMOKE
from ..support.small import reached
from ..support.virtual_devices import HOST, VirtualDevices

GIVEN, OWN = torch.device("cpu", 1), torch.device("cpu", 2)


@pytest.fixture
def second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on `OWN`, as the second of two processes does on its GPU."""
    for module in (learned, finetuning):
        monkeypatch.setattr(module, "local_device", lambda device: OWN)


def test_devices_are_told_apart() -> None:
    with VirtualDevices():
        weight = nn.Linear(3, 3).to(GIVEN).weight
        other = torch.zeros(3, 3, device=OWN)
        assert (weight.device, (weight[0] * 2).device, other.device) == (GIVEN, GIVEN, OWN)
        assert weight.detach().cpu().device == HOST
        for mixed in (lambda: weight + other, lambda: torch.cat([other, weight]), weight.numpy):
            with pytest.raises(RuntimeError, match="cpu:1"):
                mixed()
        torch.testing.assert_close(weight.to(OWN) + other, weight.to(OWN))


@pytest.mark.parametrize(
    ("method", "family", "settings"),
    [
        ("structured", "hubert", {"sparsity": 0.3, "units": "qk,vo,ffn", "gate_init_spread": 1.0}),
        ("dphubert", "wavlm", {"sparsity": 0.3}),
        ("dphubert", "hubert", {"sparsity": 0.3, "loss": "groups", "groups": 2}),
        ("prune_low_rank", "wavlm", {"sparsity": 0.3}),
        ("prune_low_rank", "hubert", {"sparsity": 0.3, "rank": "energy", "nuclear": "exact"}),
        ("self_pinching", "hubert", {"sparsity": 0.3, "final_steps": 1, "loss": "relations"}),
        ("self_pinching", "wavlm", {"sparsity": 0.3, "granularity": "weight"}),
        ("self_pinching", "hubert", {"sparsity": 0.3, "objective": "ctc"}),
        ("distill", "wavlm", {"loss": "codes", "codes": 4}),
        ("ctc", "wavlm", {}),
    ],
)
def test_no_operation_mixes_the_devices(
    method: str, family: Any, settings: dict[str, Any], transcribed: Path, second_process: None
) -> None:
    settings = SMOKE | {"steps": 2, "final_steps": 1} | settings | {"audio": transcribed}
    if method in ("distill", "ctc"):
        del settings["final_steps"]
    if method == "ctc":
        del settings["crop_seconds"]
    large = family == "wavlm"
    shape = dense_shape(
        family,
        hidden=32,
        layers=2,
        heads=2,
        ffn=96,
        conv_widths=(16,) * 7,
        position_kernel=8,
        position_groups=4,
        large=large,
    )
    with VirtualDevices():
        encoder = random_encoder(shape).to(GIVEN)
        if method == "distill":
            settings["teacher"] = encoder
        smaller = compress(encoder, method, **settings)
        assert {parameter.device for parameter in encoder.parameters()} == {GIVEN}
        assert {parameter.device for parameter in smaller.parameters()} == {OWN}
        smaller.cpu()
    assert reached(smaller, encoder) == pytest.approx(settings.get("sparsity", 0), abs=0.01)
