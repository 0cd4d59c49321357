"""Whisper's encoder: log-mel frames in blocks of 30 s, two convolutions, a table of positions.

Whisper pads each utterance with silence to 30 s, and all its frames attend to the silence. Longer
audio is cut into blocks of 30 s that know nothing of each other. With the setting `pad: none`, the
same log-mel frames end with the audio, and so does the table of positions: a model of its own,
which Whisper was not trained as, and which costs less for short utterances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..activation import gelu
from .base import FrontEnd, FrontEndSettings, Padding, register_front_end

if TYPE_CHECKING:
    from ..shape import EncoderShape

SAMPLING_RATE = 16_000
WINDOW = 400
HOP = 160
"""Samples from one log-mel frame to the next; the second convolution halves their number."""
STRIDE = 2 * HOP

FLOOR = 1e-10
RANGE = 8.0
"""Decades below the largest value of a block at which its log-mel frames are clipped."""

Pad = Literal["full", "none"]
"""How far utterances are padded; see `WhisperSettings.pad`."""
PADS: tuple[Pad, ...] = get_args(Pad)


class WhisperSettings(FrontEndSettings):
    """Settings of Whisper's front end. The duration of a block is that of its positions."""

    mel_bins: int = Field(ge=1, le=4096)
    """80; 128 from large-v3 on."""
    pad: Pad = "full"
    """full: utterances are padded to whole blocks (30 s), as in Whisper. none: only to whole
    frames, so that a short utterance costs less; its hidden states are others."""


@register_front_end("whisper")
class WhisperFrontEnd(FrontEnd):
    """Maps waveforms to frames of 20 ms with positions added."""

    settings = WhisperSettings

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__(shape)
        self.shape = shape
        self.conv1 = nn.Conv1d(_settings(shape).mel_bins, shape.hidden, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.hidden, shape.hidden, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding.from_pretrained(
            sinusoids(_positions(shape), shape.hidden)
        )

    @classmethod
    def check_shape(cls, shape: EncoderShape) -> None:
        """Check that a shape has positions and nothing of the convolutional families."""
        if shape.learned_positions is None:
            raise ValueError("family whisper: needs learned_positions")
        absent = ("convs", "conv_norm", "conv_bias", "feature_scale", "position_conv")
        for name in (*absent, "relative_position"):
            if getattr(shape, name):
                raise ValueError(f"family whisper: has no {name}")
        if shape.hidden % 2 or shape.hidden < 4:
            raise ValueError(f"family whisper: hidden {shape.hidden} is not even, or below 4")

    @classmethod
    def frame_stride(cls, shape: EncoderShape) -> int:
        """Return 320: two log-mel frames."""
        return STRIDE

    @classmethod
    def frames(cls, shape: EncoderShape, samples: int) -> int:
        """Return `round(samples / 320)`, the number that s3prl takes of every utterance."""
        return round(samples / STRIDE)

    @classmethod
    def frames_computed(cls, shape: EncoderShape, samples: int) -> int:
        """Return the frames of all blocks, padding included."""
        span = _positions(shape)
        blocks = _blocks(shape, cls.frames(shape, samples))
        if blocks == 1 and _settings(shape).pad == "none":
            return _audio_frames(shape, samples)
        return blocks * span

    @classmethod
    def attention_span(cls, shape: EncoderShape) -> int:
        """Return the number of frames of a block."""
        return _positions(shape)

    @classmethod
    def minimum_samples(cls, shape: EncoderShape) -> int:
        """Return the fewest samples that round to one frame; a half is rounded to zero."""
        return HOP + 1

    @classmethod
    def feature_width(cls, shape: EncoderShape) -> int:
        """Return the width of the convolutions, which is that of the Transformer."""
        return shape.hidden

    @classmethod
    def peak_elements(cls, shape: EncoderShape, samples: int) -> int:
        """Return the size of both ends of a convolution, or of the spectrum and its copies."""
        frames = 2 * cls.frames_computed(shape, samples)
        convolution = _settings(shape).mel_bins + 3 * shape.hidden
        return frames * max(convolution, 7 * (WINDOW // 2 + 1))

    def forward(
        self, waveforms: Sequence[Tensor], padding: Padding
    ) -> tuple[Tensor, Tensor | None, list[int]]:
        """Pad the waveforms, and encode them block by block.

        The result is the same for both kinds of `padding`, since no frame ever depends on what
        an utterance is batched with.
        """
        shape, span = self.shape, _positions(self.shape)
        lengths = [len(waveform) for waveform in waveforms]
        counts = [max(self.frames(shape, length), 1) for length in lengths]
        blocks = _blocks(shape, max(counts))
        frames = max(self.frames_computed(shape, length) for length in lengths) // blocks
        # A window more, so that the last frames of unpadded audio see silence, as they do in
        # padded audio, and not the mirrored end with which the transform goes on.
        samples = min(frames * STRIDE + WINDOW, span * STRIDE)
        batch = torch.stack([_padded(waveform, blocks * samples) for waveform in waveforms])
        mel = log_mel(batch.view(-1, samples), _settings(shape).mel_bins)[..., : 2 * frames]
        mel = mel.to(self.conv1.weight.dtype)
        valid = None
        if _settings(shape).pad == "none":
            mel, valid = self._end_with_audio(mel, lengths, blocks * frames)
        x = gelu(self.conv2(gelu(self.conv1(mel)))).transpose(1, 2)
        # Whisper's positions are constants: nothing trains them.
        x = x + self.embed_positions.weight[:frames].detach()
        return x.reshape(len(waveforms), blocks * frames, -1), valid, counts

    def _end_with_audio(
        self, mel: Tensor, lengths: list[int], frames: int
    ) -> tuple[Tensor, Tensor | None]:
        """Set log-mel frames beyond the end of each utterance to zero, and mask them.

        Args:
            mel: [batch x blocks, mel bins, log-mel frames].
            lengths: samples of each utterance.
            frames: frames of an utterance over all its blocks.

        Returns:
            The log-mel frames, and a mask [batch, frames], or None if nothing is masked.
        """
        own = [_audio_frames(self.shape, length) for length in lengths]
        if min(own) == frames:
            return mel, None
        position = torch.arange(frames, device=mel.device)
        inside = position < torch.tensor(own, device=mel.device)[:, None]
        blockwise = inside.view(len(mel), -1)
        mel = mel * blockwise.repeat_interleave(2, dim=1).unsqueeze(1)
        # The frames of a block without audio, which nobody reads, look at each other: with nothing
        # to look at they would become NaN.
        empty = ~blockwise.any(dim=1, keepdim=True)
        return mel, (blockwise | empty).view(len(lengths), frames)


def log_mel(waveforms: Tensor, mel_bins: int) -> Tensor:
    """Return the log-mel frames of openai's Whisper, in float32 whatever the waveforms are.

    Args:
        waveforms: [batch, samples].
        mel_bins: number of mel bins.

    Returns:
        [batch, mel bins, samples // 160]; each utterance is clipped at 8 decades below its maximum.
    """
    window, filters = _constants(mel_bins, waveforms.device)
    spectrum = torch.stft(waveforms.float(), WINDOW, HOP, window=window, return_complex=True)
    # In float64, which neither autocast nor TensorFloat-32 touches.
    power = spectrum[..., :-1].abs().double() ** 2
    decades = (filters @ power).float().clamp(min=FLOOR).log10()
    loudest = decades.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(decades, loudest - RANGE) + 4.0) / 4.0


@lru_cache(maxsize=8)
def _constants(mel_bins: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the window [400] in float32, and the mel filters [mel bins, 201] in float64.

    They are no buffers, which would be rounded together with the weights of a bfloat16 encoder.
    """
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=WINDOW // 2 + 1,
        num_mel_filters=mel_bins,
        min_frequency=0.0,
        max_frequency=SAMPLING_RATE / 2,
        sampling_rate=SAMPLING_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    with torch.inference_mode(False):
        window = torch.hann_window(WINDOW, device=device)
        return window, torch.tensor(filters.T, dtype=torch.float64, device=device).contiguous()


def sinusoids(length: int, width: int) -> Tensor:
    """Return Whisper's positions [length, width]: sines, then cosines, from 1 to 1/10,000 rad."""
    step = math.log(10_000) / (width // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(width // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _padded(waveform: Tensor, samples: int) -> Tensor:
    """Append zeros to a waveform, or cut what rounding leaves beyond the last block."""
    return F.pad(waveform[:samples], (0, max(samples - len(waveform), 0)))


def _settings(shape: EncoderShape) -> WhisperSettings:
    assert isinstance(shape.front_end, WhisperSettings)
    return shape.front_end


def _positions(shape: EncoderShape) -> int:
    """Return the number of frames of a block."""
    assert shape.learned_positions is not None
    return shape.learned_positions


def _blocks(shape: EncoderShape, frames: int) -> int:
    """Return how many blocks hold this many frames."""
    return max(-(-frames // _positions(shape)), 1)


def _audio_frames(shape: EncoderShape, samples: int) -> int:
    """Return how many frames audio of this length covers, the last one perhaps only in part."""
    blocks = _blocks(shape, WhisperFrontEnd.frames(shape, samples))
    return min(max(-(-samples // STRIDE), 1), blocks * _positions(shape))
