"""SUPERB's recognisers: weighted sum of the hidden states, a classifier of frames, and CTC.

`Recogniser` is ASR's: SpecAugment, linear, bidirectional LSTMs, linear. It is s3prl's
`Featurizer`, `downstream/asr/expert.py` (projector) and `RNNs` of `downstream/asr/model.py` with
the sizes of its recipe. `LinearRecogniser` is phoneme recognition's: two linears, which are the
projector of `downstream/ctc/expert.py` and `FrameLevel` of `downstream/model.py`. Both are built
in that order, so that the same seed gives the same weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from ..tasks.base.characters import CHARACTER_SYMBOLS
from ..tasks.base.symbols import Symbols
from ..tasks.base.task import RecognitionHead
from .spec_augment import SpecAugment


class FrameHead(nn.Module, ABC):
    """From the hidden states of utterances to the log-probabilities of symbols.

    Args:
        layers: hidden states per utterance, L + 1 of the encoder.
        symbols: what it writes.
    """

    def __init__(self, layers: int, symbols: Symbols) -> None:
        super().__init__()
        self.symbols = symbols
        self.layer_weights = nn.Parameter(torch.zeros(layers))

    @abstractmethod
    def logits(self, features: Tensor, counts: Tensor) -> Tensor:
        """Return the logits of every frame, [batch, frames, symbols].

        Args:
            features: weighted sums of the hidden states, [batch, frames, width], zero-padded.
            counts: frames of each utterance, [batch], on the CPU.
        """

    def forward(self, frames: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Recognise utterances.

        Args:
            frames: of each utterance [layers, frames, width], of any floating-point type.

        Returns:
            Log-probabilities [batch, frames, symbols], and the frames of each utterance, [batch],
            on the CPU.
        """
        share = self.layer_weights.softmax(0)
        summed = [
            (share @ states.to(share.dtype).flatten(1)).view(states.shape[1:]) for states in frames
        ]
        counts = torch.tensor([len(features) for features in summed])
        features = pad_sequence(summed, batch_first=True)
        return self.logits(features, counts).log_softmax(dim=-1), counts

    def loss(self, frames: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """Return CTC's loss per symbol, the mean over the utterances.

        An utterance with more symbols than its frames can hold adds zero. `targets` are the
        numbers of each utterance's symbols, see `Symbols.encode`.
        """
        logs, counts = self(frames)
        sizes = torch.tensor([len(target) for target in targets], device=logs.device)
        # CTC never looks at what pads a target, since it knows the sizes.
        padded = pad_sequence(list(targets), batch_first=True)
        return F.ctc_loss(
            logs.transpose(0, 1),
            padded.to(logs.device),
            counts,
            sizes,
            blank=self.symbols.blank,
            zero_infinity=True,
        )

    def texts(self, frames: Sequence[Tensor]) -> list[str]:
        """Return the text of the most probable symbol of every frame, of each utterance."""
        logs, counts = self(frames)
        best = logs.argmax(dim=-1).tolist()
        return [
            self.symbols.decode(row[:count])
            for row, count in zip(best, counts.tolist(), strict=True)
        ]


class Recogniser(FrameHead):
    """ASR's head, which writes characters."""

    def __init__(self, layers: int, width: int, head: RecognitionHead) -> None:
        super().__init__(layers, CHARACTER_SYMBOLS)
        self.augment = SpecAugment() if head.specaug else None
        self.projector = nn.Linear(width, head.project_dim)
        self.rnns = nn.ModuleList()
        size = head.project_dim
        for _ in range(head.rnn_layers):
            self.rnns.append(nn.LSTM(size, head.rnn_dim, batch_first=True, bidirectional=True))
            size = 2 * head.rnn_dim
        self.dropout = nn.Dropout(head.dropout)
        self.output = nn.Linear(size, len(self.symbols.names))

    def logits(self, features: Tensor, counts: Tensor) -> Tensor:
        """See `FrameHead.logits`; SpecAugment and dropout only in training."""
        if self.training and self.augment is not None:
            features = self.augment(features, counts)
        features = self.projector(features)
        for rnn in self.rnns:
            assert isinstance(rnn, nn.LSTM)
            features = self.dropout(run_lstm(rnn, features, counts))
        return self.output(features)


class LinearRecogniser(FrameHead):
    """Phoneme recognition's head: two linears without a non-linearity between them."""

    def __init__(self, layers: int, width: int, projector_dim: int, symbols: Symbols) -> None:
        super().__init__(layers, symbols)
        self.projector = nn.Linear(width, projector_dim)
        self.output = nn.Linear(projector_dim, len(symbols.names))

    def logits(self, features: Tensor, counts: Tensor) -> Tensor:
        """See `FrameHead.logits`."""
        return self.output(self.projector(features))


def run_lstm(rnn: nn.LSTM, features: Tensor, counts: Tensor) -> Tensor:
    """Run one bidirectional layer over utterances of unequal lengths.

    What torch's packed sequences give, up to rounding. On a CPU their backward pass takes time
    that grows with the square of the frames (a whole gradient is filled with zeros for every
    step), so there each direction goes over the padded batch by itself: the backward one over
    utterances that are turned round, each within its own frames.

    Args:
        rnn: batch first, one layer.
        features: [batch, frames, width].
        counts: frames of each utterance, [batch], on the CPU; the largest is `frames`.

    Returns:
        [batch, frames, 2 x units]; what lies behind an utterance's end is of no use.
    """
    if features.device.type != "cpu":
        packed = pack_padded_sequence(features, counts, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(rnn(packed)[0], batch_first=True)[0]
    frame = torch.arange(features.shape[1]).expand(features.shape[:2])
    turned = torch.where(frame < counts[:, None], counts[:, None] - 1 - frame, frame)[..., None]
    backward = _one_way(rnn, _take(features, turned), "_reverse")
    return torch.cat([_one_way(rnn, features, ""), _take(backward, turned)], dim=2)


def _take(features: Tensor, frames: Tensor) -> Tensor:
    return features.gather(1, frames.expand(-1, -1, features.shape[2]))


def _one_way(rnn: nn.LSTM, features: Tensor, direction: str) -> Tensor:
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = [getattr(rnn, name + direction) for name in names]
    start = features.new_zeros(1, len(features), rnn.hidden_size)
    return torch.lstm(
        features,
        (start, start),
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=rnn.training,
        bidirectional=False,
        batch_first=True,
    )[0]
