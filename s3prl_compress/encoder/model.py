"""The speech encoder: one forward pass for every `EncoderShape`.

It needs torch only. Parameters have the names that Hugging Face gives them, so that published
checkpoints load without a table of names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.errors import InputError
from .front_ends import FrontEnd, Padding, front_end_class
from .front_ends.convolutional import PositionConv
from .head import CTCHead
from .layers import TransformerLayer, relative_position_bias
from .memory import check_memory
from .provenance import Provenance
from .serialization import StoredType
from .shape import EncoderShape

PADDINGS: tuple[Padding, ...] = ("independent", "fairseq")

SAMPLING_RATE = 16_000

FAIRSEQ_EPS = 1e-5
"""Added to the variance when a waveform is normalised, in fairseq, s3prl and torchaudio."""
TRANSFORMERS_EPS = 1e-7
"""Its counterpart in transformers' `Wav2Vec2FeatureExtractor`."""


class TransformerStack(nn.Module):
    """Positions and Transformer layers; returns the input of every layer and the final output.

    Some of them several times, if the shape says so.
    """

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.pre_norm = shape.pre_norm
        self.relative_position = shape.relative_position
        self.state_inputs = shape.state_inputs
        self.attention_span = shape.attention_span
        self.pos_conv_embed = PositionConv(shape) if shape.position_conv is not None else None
        self.layer_norm = nn.LayerNorm(shape.hidden, eps=shape.layer_norm_eps)
        self.layers = nn.ModuleList(
            TransformerLayer(shape, index) for index in range(len(shape.layers))
        )

    def forward(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
        """Map the Transformer's input to the hidden states, which have the same size.

        Args:
            x: [batch, frames, hidden].
            valid: False where a frame is padding, [batch, frames]; None: no frame is.
        """
        batch, frames, _ = x.shape
        span = self.attention_span
        if span is None or frames <= span:
            return self._encode(x, valid)
        x = x.unflatten(1, (-1, span)).flatten(0, 1)
        if valid is not None:
            valid = valid.view(-1, span)
        return tuple(state.view(batch, frames, -1) for state in self._encode(x, valid))

    def _encode(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, ...]:
        mask = None
        if valid is not None:
            # The position conv reads beyond the end of an utterance, and must find zeros there.
            x = x * valid.unsqueeze(-1)
            mask = valid[:, None, None, :]
        if self.pos_conv_embed is not None:
            x = x + self.pos_conv_embed(x)
        if not self.pre_norm:
            x = self.layer_norm(x)
        bias = None
        if self.relative_position is not None and len(self.layers):
            first = self.layers[0]
            assert isinstance(first, TransformerLayer)
            table = first.attention.position_table
            bias = relative_position_bias(table, x.shape[1], self.relative_position.max_distance)
        inputs = []
        for layer in self.layers:
            inputs.append(x)
            x = layer(x, mask, bias)
        inputs.append(x)
        states = [inputs[number] for number in self.state_inputs]
        if self.pre_norm:  # as in fairseq and transformers 4: the last state is normalised
            states[-1] = self.layer_norm(x)
        return tuple(states)


class Features(NamedTuple):
    """What the front end makes of a batch: the input of the Transformer before its projection."""

    values: Tensor
    """[batch, frames, width]."""
    valid: Tensor | None
    """False where a frame is padding, [batch, frames]; None: no frame is."""
    frames: Tensor
    """Number of frames of each utterance, [batch], on the CPU."""


class SpeechEncoder(nn.Module):
    """A self-supervised speech encoder of any shape.

    It computes the same in train and in eval mode, up to rounding: there is no dropout and no layer
    drop.

    Args:
        shape: the family and all sizes.
        normalize: normalise each waveform to zero mean and unit variance first (`do_normalize` in
            transformers, `normalize` in fairseq).
        normalize_eps: added to the variance of the waveform before the square root.
        padding: "independent": an utterance's features do not depend on what it is batched with.
            "fairseq": masks and GroupNorm are those of s3prl and fairseq, as in the published
            SUPERB results; the padding of a batch then leaks into every feature.
    """

    def __init__(
        self,
        shape: EncoderShape,
        *,
        normalize: bool = False,
        normalize_eps: float = FAIRSEQ_EPS,
        padding: Padding = "independent",
    ) -> None:
        super().__init__()
        front_end = front_end_class(shape.family)
        self.shape = shape
        self.normalize = normalize
        self.normalize_eps = normalize_eps
        self.padding = padding
        self.pad_short = False
        """Accept waveforms that are too short for one frame, and append zeros to them."""
        self.sampling_rate = SAMPLING_RATE
        self.stored_as: StoredType = "float32"
        """Type of the weights in the checkpoint that they were read from."""
        self.provenance = Provenance.unknown()
        # Used in masked pre-training only, but part of every published checkpoint.
        self.masked_spec_embed = nn.Parameter(torch.zeros(shape.hidden))
        self.feature_extractor: FrontEnd = front_end(shape)
        # Any: surgery reads the attributes of a convolutional family's projection.
        self.feature_projection: Any = front_end.build_projection(shape)
        self.encoder = TransformerStack(shape)
        self.head: CTCHead | None = None

    @property
    def padding(self) -> Padding:
        """How utterances shorter than the longest of their batch are padded: see the class."""
        return self._padding

    @padding.setter
    def padding(self, value: Padding) -> None:
        if value not in PADDINGS:
            raise InputError(f"padding {value!r}: choose one of {', '.join(PADDINGS)}")
        self._padding: Padding = value

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.masked_spec_embed.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.masked_spec_embed.dtype

    def forward(
        self, waveforms: Sequence[Tensor] | Features, masks: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Encode utterances.

        Args:
            waveforms: 1-D tensors of samples at 16 kHz, each at least `shape.minimum_samples` long,
                or at least one sample if `pad_short` is set; or what `features` made of them.
            masks: True where a frame is replaced by the embedding of masked pre-training before
                it enters the Transformer, [batch, frames]; None: nowhere. Where utterances are
                padded to a fixed duration, the mask covers the frames of the longest one only.

        Returns:
            The hidden states, L + 1 tensors [batch, frames, hidden], of which state i is the input
            of layer i and the last one the output; and the number of frames of each utterance,
            [batch], on the CPU. Later frames are padding. If layers were removed and their hidden
            states kept (`shape.hidden_states`), L counts the removed layers, too, and state i + 1
            is state i if layer i was removed.

        Raises:
            InputError: a waveform is not 1-D, or too short or too long, or the batch needs more
                memory than is available.
        """
        if isinstance(waveforms, Features):
            features, valid, counts = waveforms
            longest = int(counts.max())
        else:
            features, valid, counts = self.features(waveforms)
            longest = max(self.shape.frames(len(waveform)) for waveform in waveforms)
        x = self.feature_projection(features)
        if masks is not None:
            masks = F.pad(masks, (0, x.shape[1] - masks.shape[1]))
            x = torch.where(masks.unsqueeze(-1), self.masked_spec_embed.to(x.dtype), x)
        states: tuple[Tensor, ...] = self.encoder(x, valid)
        if max(longest, 1) < states[0].shape[1]:  # utterances are padded to a fixed duration
            states = tuple(state[:, : max(longest, 1)] for state in states)
        return states, counts

    def features(self, waveforms: Sequence[Tensor]) -> Features:
        """Run the front end only, the first of the forward pass's three parts.

        Raises:
            InputError: as for `forward`.
        """
        fewest = 1 if self.pad_short else self.shape.minimum_samples
        lengths = check_waveforms(waveforms, fewest)
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            check_memory(self.shape, len(lengths), max(lengths), self.device, self.dtype.itemsize)
        prepared = [waveform.to(self.device, self.dtype) for waveform in waveforms]
        if self.normalize:
            eps = self.normalize_eps
            prepared = [F.layer_norm(waveform, waveform.shape, eps=eps) for waveform in prepared]
        features, valid, counts = self.feature_extractor(prepared, self.padding)
        return Features(features, valid, torch.tensor(counts, device="cpu"))


def check_waveforms(waveforms: Sequence[Tensor], minimum_samples: int) -> list[int]:
    """Return the lengths of waveforms that an encoder is to encode.

    Raises:
        InputError: there is none, or one is not 1-D or has fewer than `minimum_samples` samples.
    """
    if isinstance(waveforms, Tensor) or not len(waveforms):
        raise InputError("the encoder takes a list of 1-D waveforms, which must not be empty")
    for number, waveform in enumerate(waveforms):
        if waveform.dim() != 1:
            raise InputError(
                f"waveform {number} has {waveform.dim()} dimensions; give 1-D samples at "
                f"{SAMPLING_RATE} Hz"
            )
        if len(waveform) < minimum_samples:
            raise InputError(
                f"waveform {number} has {len(waveform)} samples; one frame needs {minimum_samples}"
            )
    return [len(waveform) for waveform in waveforms]
