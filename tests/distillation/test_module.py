from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s3prl_compress.common.errors import InputError
from s3prl_compress.distillation.layers import LayerDistillation
from s3prl_compress.distillation.losses import build_distillation_loss
from s3prl_compress.distillation.module import DistillationModule
from s3prl_compress.methods import check_settings
from s3prl_compress.methods.prune_low_rank.gradual_pruning import MaskedWeights
from s3prl_compress.surgery.masked import MaskedEncoder

from ..support.small import small_encoder, speech


class Seen(LayerDistillation):
    """The loss, which keeps the states that it was given."""

    def forward(self, student_states: Any, teacher_states: Any, *rest: Any) -> dict[str, Tensor]:
        self.student, self.teacher = student_states, teacher_states
        return super().forward(student_states, teacher_states, *rest)


def students() -> dict[str, nn.Module]:
    encoder = small_encoder(seed=7)
    gated = MaskedEncoder(encoder, {"ffn": 0.5, "conv": 0.5}, straight_through=False)
    return {"encoder": encoder, "gates": gated.eval(), "masks": MaskedWeights(encoder, [(0, "q")])}


@pytest.mark.parametrize("kind", ["encoder", "gates", "masks"])
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_layer_zero_can_be_the_feature_projection_s_output(kind: str, family: str) -> None:
    """That is before the position convolution and the LayerNorm, see `LayerDistillation`."""
    student, teacher = students()[kind], small_encoder(family)  # type: ignore[arg-type]
    found: dict[bool, Seen] = {}
    for projected in (False, True):
        distance = Seen(teacher.shape, teacher.shape, (0, 2), projected_input=projected)
        DistillationModule(student, teacher, distance, None, seed=0)(speech(1500, 4000), 0, 1.0)
        found[projected] = distance
    expected = teacher.feature_projection(teacher.features(speech(1500, 4000))[0])
    torch.testing.assert_close(found[True].teacher[0], expected)
    states, _ = teacher(speech(1500, 4000))
    torch.testing.assert_close(found[False].teacher, states)
    torch.testing.assert_close(found[True].teacher[1:], states[1:])
    torch.testing.assert_close(found[True].student[1:], found[False].student[1:])
    assert not torch.allclose(found[True].student[0], found[False].student[0])
    assert not teacher.feature_projection._forward_hooks
    if kind == "gates":
        shrunk = student.pruned()  # type: ignore[operator]
        own = shrunk.feature_projection(shrunk.features(speech(1500, 4000))[0])
        torch.testing.assert_close(found[True].student[0], own, rtol=1e-4, atol=1e-4)


def test_the_projection_s_output_is_learned_from() -> None:
    student, teacher = small_encoder(seed=7), small_encoder()
    distance = LayerDistillation(teacher.shape, teacher.shape, (0,), projected_input=True)
    DistillationModule(student, teacher, distance, None, seed=0)(speech(3000), 0, 1.0)[
        "loss"
    ].backward()
    assert student.feature_projection.projection.weight.grad is not None
    assert student.encoder.pos_conv_embed.conv.bias.grad is None


def test_dphubert_alone_compares_it(tones: Path) -> None:
    encoder = small_encoder()
    for method, settings, expected in (
        ("dphubert", {}, True),
        ("dphubert", {"layer_zero": "hidden_state"}, False),
        ("structured", {}, False),
        ("prune_low_rank", {}, False),
    ):
        config: Any = check_settings(method, {"audio": tones} | settings)
        assert build_distillation_loss(encoder, encoder.shape, config).projected_input is expected
        assert ("layer_zero" in config.recorded()) == (method == "dphubert")
    other = {"audio": tones, "loss": "relations"}
    assert "layer_zero" not in check_settings("dphubert", other).recorded()
    with pytest.raises(InputError, match="layer_zero needs the loss 'layers'"):
        check_settings("dphubert", other | {"layer_zero": "projection"})
