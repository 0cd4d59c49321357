from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.distillation import losses
from s3prl_compress.distillation import stage as learned
from s3prl_compress.distillation.codes import CodePrediction
from s3prl_compress.distillation.layers import LayerDistillation
from s3prl_compress.distillation.losses import build_distillation_loss
from s3prl_compress.distillation.relations import TemporalRelations
from s3prl_compress.encoder import fingerprint
from s3prl_compress.methods import compress
from s3prl_compress.training.stages import Stage

from ..methods.test_structured import SMOKE
from ..support.small import small_encoder, speech
from .test_stages import STAGE, Noisy, config, weights

SETTINGS: dict[str, dict[str, Any]] = {
    "groups": {"groups": 2},
    "relations": {},
    "codes": {"codes": 6},
}
KINDS = {"groups": LayerDistillation, "relations": TemporalRelations, "codes": CodePrediction}


@pytest.mark.parametrize("loss", SETTINGS)
def test_every_loss_is_learned(loss: str, tones: Path) -> None:
    teacher, student = small_encoder(), small_encoder()
    with torch.no_grad():
        for parameter in student.encoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    settings = config(tones, loss=loss, accumulation=1, log_every=10, checkpoint_every=10)
    settings = settings.model_copy(update=SETTINGS[loss])
    distance = build_distillation_loss(teacher, student.shape, settings)
    assert type(distance) is KINDS[loss]
    long = Stage("long", steps=60, learning_rate=3e-3, warmup=0.1)
    training = learned.distill(student, teacher, settings, long, distance=distance).training
    values = [entry["loss"] for entry in training]
    assert values[-1] < values[0] - 0.02 * abs(values[0])


def test_groups_are_of_states_that_are_alike(tones: Path) -> None:
    """A layer that adds next to nothing leaves two states alike, which are one group then."""
    teacher = small_encoder(layers=3, pre_norm=True)
    with torch.no_grad():
        for parameter in teacher.encoder.layers[1].parameters():
            parameter *= 1e-3
    distance = build_distillation_loss(
        teacher, teacher.shape, config(tones, loss="groups", groups=3)
    )
    assert isinstance(distance, LayerDistillation)
    assert (1, 2) in distance.groups
    assert sorted(state for group in distance.groups for state in group) == [0, 1, 2, 3]


@pytest.mark.parametrize("loss", SETTINGS)
@pytest.mark.parametrize("method", ["structured", "prune_low_rank", "self_pinching"])
def test_methods_of_several_stages_take_every_loss(method: str, loss: str, tones: Path) -> None:
    encoder = small_encoder()
    settings = SMOKE | {"sparsity": 0.2, "audio": tones, "loss": loss} | SETTINGS[loss]
    made = compress(encoder, method, **settings)
    plain = compress(encoder, method, **SMOKE, sparsity=0.2, audio=tones)
    assert made.provenance.steps[-1].settings["loss"] == loss
    assert fingerprint(made) != fingerprint(plain)
    assert all(torch.isfinite(state).all() for state in made(speech(3000))[0])


def test_a_killed_run_goes_on_with_the_codes_that_it_began_with(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = small_encoder()
    settings = {"loss": "codes", "codes": 6}
    whole, cut = Noisy(small_encoder(seed=7)), Noisy(small_encoder(seed=7))
    learned.distill(whole, teacher, config(tones, work=tmp_path / "whole", **settings), STAGE)
    kept = config(tones, work=tmp_path / "cut", **settings)
    real_batches, real_fit = learned.AudioBatches.iterate, losses.fit_codes

    def killed(self: Any, first: int, *rest: Any) -> Any:
        for number, batch in enumerate(real_batches(self, first, *rest), start=first):
            if number == 7:  # in update 3
                raise KeyboardInterrupt
            yield batch

    def fitted_with_other_threads(*given: Any, **named: Any) -> Any:
        means, last = real_fit(*given, **named)
        return means * (1 + 1e-7), last

    monkeypatch.setattr(learned.AudioBatches, "iterate", killed)
    with pytest.raises(KeyboardInterrupt):
        learned.distill(Noisy(small_encoder(seed=7)), teacher, kept, STAGE)
    monkeypatch.setattr(learned.AudioBatches, "iterate", real_batches)
    monkeypatch.setattr(losses, "fit_codes", fitted_with_other_threads)
    learned.distill(cut, teacher, kept, STAGE)
    for one, other in zip(weights(whole), weights(cut), strict=True):
        assert torch.equal(one, other)


def test_layers_as_a_command_line_writes_them(tones: Path) -> None:
    assert config(tones, layers="0, 2").layers == (0, 2)
    with pytest.raises(ValueError, match=r"layers"):
        config(tones, layers="0,x")


def test_the_history_keeps_what_belongs_to_the_loss(tones: Path) -> None:
    plain, coded = config(tones).recorded(), config(tones, loss="codes", codes=6).recorded()
    assert (plain["loss"], plain["layers"]) == ("layers", None)
    assert {"groups", "codes"}.isdisjoint(plain)
    assert (coded["loss"], coded["codes"]) == ("codes", 6)
    assert {"groups", "layers"}.isdisjoint(coded)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"loss": "relations", "layers": (1,)}, "layers needs the loss 'layers'"),
        ({"groups": 3}, "groups needs the loss 'groups', not 'layers'"),
        ({"loss": "groups", "codes": 9}, "codes needs the loss 'codes'"),
        ({"loss": "cosine"}, "loss"),
    ],
)
def test_settings_of_another_loss(wrong: dict[str, Any], match: str, tones: Path) -> None:
    with pytest.raises(ValueError, match=match):
        config(tones, **wrong)
