from __future__ import annotations

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.distillation.relations import TemporalRelations

from ..support.small import small_shape
from .test_layers import TINY, states

COUNTS = torch.tensor([7, 4])


def test_the_loss_is_the_published_one_over_valid_frames() -> None:
    student, teacher = states(0), states(1)
    found = TemporalRelations(TINY, TINY)(student, teacher, COUNTS)

    def difference(one: int, other: int) -> float:
        total = 0.0
        for row, count in enumerate(COUNTS.tolist()):
            grams = [
                torch.einsum("td,sd->ts", own[one][row, :count], own[other][row, :count]) / 24
                for own in (student, teacher)
            ]
            total += count * float(torch.nn.functional.mse_loss(*grams))
        return total / 11

    layerwise = sum(difference(layer, layer) for layer in range(3)) / 3
    intralayer = sum(difference(layer, layer + 1) for layer in range(2)) / 2
    assert float(found["layerwise"]) == pytest.approx(layerwise, rel=1e-5)
    assert float(found["intralayer"]) == pytest.approx(intralayer, rel=1e-5)
    assert float(found["loss"]) == pytest.approx(layerwise + intralayer, rel=1e-5)


def test_a_rotation_of_all_states_is_not_seen() -> None:
    teacher = states(1)
    rotation = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(2)))[0]
    relations = TemporalRelations(TINY, TINY)
    assert float(relations([own @ rotation for own in teacher], teacher, COUNTS)["loss"]) < 1e-9
    assert float(relations(states(0), teacher, COUNTS)["loss"]) > 1e-3


def test_batches_and_padding_take_no_part() -> None:
    relations = TemporalRelations(TINY, TINY)
    student, teacher = states(0), states(1)
    together = float(relations(student, teacher, COUNTS)["loss"])
    alone = [
        count
        * float(
            relations(
                [own[row : row + 1, :count] for own in student],
                [own[row : row + 1, :count] for own in teacher],
                torch.tensor([count]),
            )["loss"]
        )
        for row, count in enumerate(COUNTS.tolist())
    ]
    assert together == pytest.approx(sum(alone) / 11, rel=1e-5)
    student[1][1, 4:] = 1e6
    assert float(relations(student, teacher, COUNTS)["loss"]) == together


def test_widths_may_differ_and_depths_may_not() -> None:
    wide = small_shape().model_copy(update={"hidden": 48})
    student = [own.requires_grad_() for own in states(0)]
    scalars = TemporalRelations(wide, TINY)(student, states(1, hidden=48), COUNTS)
    scalars["loss"].backward()
    assert student[2].grad is not None
    with pytest.raises(InputError, match="3 layers and the student 2"):
        TemporalRelations(small_shape(layers=3), TINY)
