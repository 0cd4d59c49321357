from __future__ import annotations

import torch

from s3prl_compress.encoder import NAMED_SHAPES, random_encoder
from s3prl_compress.encoder.frames import superb_frame_counts, superb_frames
from s3prl_compress.probing.frames import layer_frames

from ..support.baselines import noise
from ..support.small import small_shape

LENGTHS = [400, 479, 480, 481, 719, 720, 2304, 15000, 16000]


def test_counts_round_halves_to_even_as_s3prl_does() -> None:
    assert superb_frame_counts([480, 800, 16000, 15000], 320) == [2, 2, 50, 47]


def test_the_convolutions_are_at_most_one_frame_short() -> None:
    shape = NAMED_SHAPES["hubert_base"]
    lengths = list(range(400, 5000))
    missing = {
        wanted - shape.frames(length)
        for length, wanted in zip(lengths, superb_frame_counts(lengths, 320), strict=True)
    }
    assert missing == {0, 1}


def test_the_last_valid_frame_is_repeated_and_padding_is_never_read() -> None:
    shape = NAMED_SHAPES["hubert_base"]
    counts = torch.tensor([shape.frames(length) for length in LENGTHS])
    states = []
    for width in (3, 3):
        state = torch.full((len(LENGTHS), int(counts.max()), width), float("nan"))
        for row, count in enumerate(counts):
            state[row, :count] = torch.randn(int(count), width)
        states.append(state)
    results = superb_frames(states, counts, LENGTHS, 320)
    assert len(results) == 2
    for state, result in zip(states, results, strict=True):
        assert result.shape == (len(LENGTHS), 50, 3)
        assert not result.isnan().any()
        for row, count in enumerate(counts):
            assert torch.equal(result[row, :count], state[row, :count])
            assert (result[row, count:] == state[row, count - 1]).all()


def test_an_encoder_of_another_stride_keeps_all_frames() -> None:
    """Two seconds are 200 frames at a stride of 160 samples, and not the 100 of the usual one."""
    shape = small_shape()
    convs = (*shape.convs[:-1], shape.convs[-1].model_copy(update={"stride": 1}))
    encoder = random_encoder(shape.model_copy(update={"convs": convs})).eval()
    assert encoder.shape.frame_stride == 160
    (waveform,) = noise(32_000)
    with torch.no_grad():
        (frames,) = layer_frames(encoder, [waveform])
        states, counts = encoder([waveform])
    assert frames.shape[1] == 200
    own = torch.stack(states)[:, 0, : int(counts)]
    assert (frames[:, : own.shape[1]].float() - own).abs().max() < 1e-2
