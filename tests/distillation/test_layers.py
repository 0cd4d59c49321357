from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from s3prl_compress.common.errors import InputError
from s3prl_compress.distillation.layers import LayerDistillation, scaled_layers
from s3prl_compress.encoder import NAMED_SHAPES

from ..support.small import small_shape

TINY = small_shape(layers=2)


def states(seed: int, hidden: int = 24) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 7, hidden, generator=generator) for _ in range(3)]


def test_a_student_that_is_the_teacher_has_cosine_one_and_no_difference() -> None:
    scalars = LayerDistillation(TINY, TINY, (0, 1, 2))(states(0), states(0), torch.tensor([7, 7]))
    assert float(scalars["l1"]) == 0
    assert float(scalars["cosine"]) == pytest.approx(1, abs=1e-6)
    assert float(scalars["loss"]) == pytest.approx(-1, abs=1e-6)


def test_the_loss_is_the_published_one_over_valid_frames() -> None:
    student, teacher = states(0), states(1)
    found = LayerDistillation(TINY, TINY, (0, 2))(student, teacher, torch.tensor([7, 4]))
    l1, cosine = [], []
    for layer in (0, 2):
        ours = torch.cat([student[layer][0], student[layer][1, :4]])
        theirs = torch.cat([teacher[layer][0], teacher[layer][1, :4]])
        l1.append(F.l1_loss(ours, theirs))
        cosine.append(F.cosine_similarity(ours, theirs, dim=-1).mean())
    assert float(found["l1"]) == pytest.approx(float(sum(l1)) / 2, rel=1e-5)
    assert float(found["loss"]) == pytest.approx(float(sum(l1) - sum(cosine)) / 2, rel=1e-5)


def test_padding_takes_no_part() -> None:
    distillation = LayerDistillation(TINY, TINY, (1,))
    student, teacher, counts = states(0), states(1), torch.tensor([7, 4])
    expected = distillation(student, teacher, counts)["loss"]
    student[1][1, 4:] = 1e6
    assert float(distillation(student, teacher, counts)["loss"]) == float(expected)


def test_state_0_has_a_projection_of_its_own() -> None:
    distillation = LayerDistillation(TINY, TINY, (0, 1, 2))
    assert sorted(distillation.projections) == ["first", "others"]
    torch.testing.assert_close(distillation.projections["first"].weight.data, torch.eye(24))
    wide = small_shape().model_copy(update={"hidden": 48})
    other = LayerDistillation(wide, TINY, (2,))
    assert other.projections["others"].weight.shape == (48, 24)
    scalars = other(states(0), states(1, hidden=48), torch.tensor([7, 7]))
    scalars["loss"].backward()
    assert other.projections["others"].weight.grad is not None


def test_a_group_is_compared_by_its_mean() -> None:
    student, teacher, counts = states(0), states(1), torch.tensor([7, 4])
    found = LayerDistillation(TINY, TINY, (0, (1, 2)))(student, teacher, counts)
    averaged = [[own[0], (own[1] + own[2]) / 2, own[2]] for own in (student, teacher)]
    expected = LayerDistillation(TINY, TINY, (0, 1))(*averaged, counts)
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6)
    with pytest.raises(InputError, match="different numbers"):
        LayerDistillation(TINY, TINY, ((0, 1), (1, 2)))


@pytest.mark.parametrize(
    ("depth", "expected"), [(12, (0, 4, 8, 12)), (24, (0, 8, 16, 24)), (6, (0, 2, 4, 6))]
)
def test_layers_scale_with_the_depth(depth: int, expected: tuple[int, ...]) -> None:
    assert scaled_layers(depth) == expected
    assert scaled_layers(2) == (0, 1, 2)


@pytest.mark.parametrize("layers", [(), (3,), (-1,), (1, 1)])
def test_layers_that_are_not_there(layers: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="different numbers from 0 to 2"):
        LayerDistillation(TINY, TINY, layers)


def test_a_teacher_of_another_kind() -> None:
    with pytest.raises(InputError, match="12 layers and the student 2"):
        LayerDistillation(NAMED_SHAPES["hubert_base"], TINY, (0,))
