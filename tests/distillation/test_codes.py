from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans

from s3prl_compress.audio import open_audio
from s3prl_compress.common.errors import InputError
from s3prl_compress.distillation.calibration import sample_states
from s3prl_compress.distillation.codes import (
    Codebook,
    CodePrediction,
    code_state,
    fit_codes,
    load_codebook,
    save_codebook,
)

from ..support.small import small_encoder, small_shape
from .test_layers import TINY, states

COUNTS = torch.tensor([7, 4])


def codebook(codes: int = 5, hidden: int = 24) -> Codebook:
    generator = torch.Generator().manual_seed(3)
    means, last = torch.randn(2, codes, hidden, generator=generator)
    return means, last


def some_masks() -> torch.Tensor:
    masks = torch.zeros(2, 7, dtype=torch.bool)
    masks[0, 2:6] = masks[1, :3] = True
    return masks


def test_the_loss_is_the_cross_entropy_of_masked_frames() -> None:
    student, teacher = states(0), states(1)
    means, last = codebook()
    found = CodePrediction(TINY, TINY, 1, (means, last))(student, teacher, COUNTS, some_masks())
    hidden = torch.cat([student[2][0, 2:6], student[2][1, :3]]) - last.mean(0)
    frames = torch.cat([teacher[1][0, 2:6], teacher[1][1, :3]])
    wanted = (frames[:, None] - means).norm(dim=-1).argmin(-1)
    logits = F.cosine_similarity(hidden[:, None], last - last.mean(0), dim=-1) / 0.1
    assert float(found["loss"]) == pytest.approx(float(F.cross_entropy(logits, wanted)), rel=1e-5)
    right = (logits.argmax(-1) == wanted).float().mean()
    assert float(found["accuracy"]) == pytest.approx(float(right))


def test_only_masked_frames_count_and_none_is_no_nan() -> None:
    prediction = CodePrediction(TINY, TINY, 1, codebook())
    student, teacher = states(0), states(1)
    before = float(prediction(student, teacher, COUNTS, some_masks())["loss"])
    student[2][~some_masks()] = 1e6
    assert float(prediction(student, teacher, COUNTS, some_masks())["loss"]) == before
    none = torch.zeros(2, 7, dtype=torch.bool)
    assert float(prediction(student, teacher, COUNTS, none)["loss"]) == 0


def test_a_student_that_is_the_teacher_starts_well_ahead_of_chance(tones: Path) -> None:
    """The reason for the start: it predicts clusters of frames that it does see at once."""
    teacher = small_encoder()
    audio = open_audio(tones)
    fitted = fit_codes(teacher, audio, 2, 6, crop_seconds=1.0, seed=0)
    prediction = CodePrediction(teacher.shape, teacher.shape, 2, fitted)
    with torch.no_grad():
        hidden, counts = teacher([audio.read(0)])
        everything = torch.ones(1, int(counts[0]), dtype=torch.bool)
        scalars = prediction(hidden, hidden, counts, everything)
    assert float(scalars["accuracy"]) > 0.5
    assert float(scalars["loss"]) < float(torch.tensor(6.0).log())


def test_codes_are_means_of_clusters(tones: Path) -> None:
    teacher, audio = small_encoder(), open_audio(tones)
    means, last = fit_codes(teacher, audio, 1, 4, crop_seconds=9.0, seed=0)
    hidden, output = sample_states(teacher, audio, (1, 2), frames=10_000, crop_seconds=9.0, seed=0)
    assert len(hidden) == sum(teacher.shape.frames(length) for length in audio.lengths)
    nearest = torch.cdist(hidden, means).argmin(-1)
    inertia = float((hidden - means[nearest]).square().sum())
    assert inertia < 1.1 * KMeans(4, n_init=5, random_state=0).fit(hidden.numpy()).inertia_
    for code in range(4):
        torch.testing.assert_close(last[code], output[nearest == code].mean(0), atol=0.1, rtol=0.1)


def test_a_sample_is_as_large_as_asked_for(tones: Path) -> None:
    teacher, audio = small_encoder(), open_audio(tones)
    found = sample_states(teacher, audio, (0, 2), frames=70, crop_seconds=0.5, seed=0)
    assert [own.shape for own in found] == [(70, 24), (70, 24)]
    again = sample_states(teacher, audio, (0, 2), frames=70, crop_seconds=0.5, seed=0)
    assert torch.equal(found[1], again[1])
    with pytest.raises(InputError, match="frames of audio are too few for 9000 codes"):
        fit_codes(teacher, audio, 1, 9000, crop_seconds=0.5, seed=0)


def test_codes_are_kept_exactly(tmp_path: Path) -> None:
    path = tmp_path / "codes.safetensors"
    assert load_codebook(path) is None
    save_codebook(path, codebook())
    found = load_codebook(path)
    assert found is not None
    assert all(torch.equal(one, other) for one, other in zip(found, codebook(), strict=True))
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="delete it"):
        load_codebook(path)


def test_the_state_is_hubert_s_ninth() -> None:
    assert [code_state(depth) for depth in (12, 24, 6, 2)] == [9, 18, 4, 2]
    with pytest.raises(InputError, match="3 layers and the student 2"):
        CodePrediction(small_shape(layers=3), TINY, 1, codebook())
