from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from s3prl_compress.encoder import NAMED_SHAPES, random_encoder
from s3prl_compress.pretraining.objective import MaskedPrediction, ObjectiveSettings

TINY = NAMED_SHAPES["hubert_tiny"]


def model_of(**settings: float) -> MaskedPrediction:
    return MaskedPrediction(random_encoder(TINY), 7, ObjectiveSettings(**settings), seed=0)


def inputs() -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    waveforms = [torch.randn(4000, generator=generator), torch.randn(3000, generator=generator)]
    targets = torch.randint(7, (2, 12), generator=generator)
    targets[1, 9:] = -1
    masks = torch.zeros(2, 12, dtype=torch.bool)
    masks[0, 2:8] = masks[1, 0:4] = True
    return {"waveforms": waveforms, "targets": targets, "masks": masks}


def test_the_loss_is_hubert_s() -> None:
    model, given = model_of(feature_penalty=0.0), inputs()
    found = model(**given)
    encoder = model.encoder
    features, valid, counts = encoder.features(given["waveforms"])
    assert counts.tolist() == [12, 9]
    x = encoder.feature_projection(features)
    x[given["masks"]] = encoder.masked_spec_embed
    output = model.final_proj(encoder.encoder(x, valid)[-1])
    logits = F.cosine_similarity(output[:, :, None], model.codes, dim=-1) / 0.1
    right = logits.log_softmax(-1).gather(-1, given["targets"].clamp(min=0)[..., None])[..., 0]
    expected = -right[given["masks"]].mean()
    torch.testing.assert_close(found["loss"], expected, rtol=1e-4, atol=1e-5)
    assert 0 <= found["accuracy"] <= 1
    assert found["loss"].item() == pytest.approx(math.log(7), abs=1.5)


def test_masked_frames_are_not_seen() -> None:
    model, given = model_of(feature_penalty=0.0), inputs()
    del given["waveforms"][1]
    given["targets"], given["masks"] = given["targets"][:1], given["masks"][:1]
    given["masks"][:] = True
    first = model(**given)["loss"]
    given["waveforms"][0] = torch.randn(4000)
    torch.testing.assert_close(model(**given)["loss"], first)


def test_padding_counts_nowhere() -> None:
    settings = {"unmasked_weight": 0.5, "feature_penalty": 1.0}
    model, given = model_of(**settings), inputs()
    given["masks"][:], given["masks"][:, 3] = False, True
    both = model(**given)
    alone = [
        model(
            [given["waveforms"][row]],
            given["targets"][row : row + 1, :count],
            given["masks"][row : row + 1, :count],
        )
        for row, count in ((0, 12), (1, 9))
    ]
    torch.testing.assert_close(
        both["masked_loss"], (alone[0]["masked_loss"] + alone[1]["masked_loss"]) / 2
    )
    torch.testing.assert_close(
        both["penalty"], (12 * alone[0]["penalty"] + 9 * alone[1]["penalty"]) / 21
    )


def test_everything_that_is_used_learns() -> None:
    model = model_of()
    model(**inputs())["loss"].backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert silent == []
    assert model.encoder.masked_spec_embed.grad.abs().sum() > 0


def test_all_frames_masked_is_no_nan() -> None:
    model, given = model_of(unmasked_weight=1.0), inputs()
    given["masks"] = given["targets"] >= 0
    assert torch.isfinite(model(**given)["loss"])


def test_bfloat16_is_close() -> None:
    model, given = model_of(), inputs()
    exact = model(**given)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(**given)["loss"]
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)


def test_torch_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    model_of()
    assert torch.equal(torch.rand(1), expected)
