"""A learned method of another package needs no more than the public faces."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from s3prl_compress.distillation import (
    FinalDistillationConfig,
    build_distillation_loss,
    distill,
    final_distillation,
)
from s3prl_compress.encoder import SpeechEncoder, fingerprint
from s3prl_compress.methods import compress, register, registry
from s3prl_compress.training import Penalty

from ..support.small import small_encoder


class ShrinkingConfig(FinalDistillationConfig):
    """Settings of the method below."""

    mu: float = 1.0
    """Weight of the norm in the loss."""


class SmallFFNs(Penalty):
    """The mean square of all FFN weights."""

    def __init__(self, mu: float) -> None:
        super().__init__()
        self.mu = mu

    def forward(self, student: SpeechEncoder, step: int) -> dict[str, Tensor]:
        return {"loss": self.mu * ffn_norm(student)}


def ffn_norm(encoder: SpeechEncoder) -> Tensor:
    weights = [weight for name, weight in encoder.named_parameters() if ".feed_forward." in name]
    return torch.stack([weight.square().mean() for weight in weights]).sum()


def shrink(encoder: SpeechEncoder, config: ShrinkingConfig) -> SpeechEncoder:
    """Shrink FFN weights while distilling."""
    student = copy.deepcopy(encoder)
    loss = build_distillation_loss(encoder, student.shape, config)
    distill(student, encoder, config, config.stage("shrink"), SmallFFNs(config.mu), loss)
    return final_distillation(student, encoder, config, config.final_stage(), loss)


@pytest.fixture
def registered() -> Iterator[None]:
    register("shrink", needs="audio", learns=True)(shrink)
    yield
    del registry._methods["shrink"]


def test_it_trains_with_its_own_penalty_and_resumes(
    registered: None, tones: Path, tmp_path: Path
) -> None:
    encoder = small_encoder()
    settings = {
        **{"audio": tones, "batch_seconds": 2.0, "crop_seconds": 0.5, "accumulation": 1},
        **{"log_every": 1, "checkpoint_every": 1, "workers": 0, "precision": "no"},
        **{"steps": 6, "final_steps": 1, "learning_rate": 1e-2},
    }
    small = compress(encoder, "shrink", work=tmp_path / "work", mu=10.0, **settings)
    free = compress(encoder, "shrink", mu=0.0, **settings)
    assert ffn_norm(small).item() < 0.95 * ffn_norm(free).item()
    assert sorted(folder.name for folder in (tmp_path / "work").iterdir()) == ["final", "shrink"]
    again = compress(encoder, "shrink", work=tmp_path / "work", mu=10.0, **settings)
    assert fingerprint(again) == fingerprint(small)
