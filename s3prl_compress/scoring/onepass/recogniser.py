"""SUPERB's recogniser: weighted sum, SpecAugment, linear, bidirectional LSTMs, linear; CTC.

The head is s3prl's `Featurizer`, `downstream/asr/expert.py` (projector) and `RNNs` of
`downstream/asr/model.py` with the sizes of its recipe, built in that order, so that the same seed
gives the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from ..corpora.characters import BLANK, PADDING, SYMBOLS, decode
from ..task import RecognitionHead
from .spec_augment import SpecAugment


class Recogniser(nn.Module):
    """From the hidden states of utterances to the log-probabilities of characters."""

    def __init__(self, layers: int, width: int, head: RecognitionHead) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.augment = SpecAugment() if head.specaug else None
        self.projector = nn.Linear(width, head.project_dim)
        self.rnns = nn.ModuleList()
        size = head.project_dim
        for _ in range(head.rnn_layers):
            self.rnns.append(nn.LSTM(size, head.rnn_dim, batch_first=True, bidirectional=True))
            size = 2 * head.rnn_dim
        self.dropout = nn.Dropout(head.dropout)
        self.output = nn.Linear(size, len(SYMBOLS))

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
        if self.training and self.augment is not None:
            features = self.augment(features, counts)
        features = self.projector(features)
        for rnn in self.rnns:
            packed = pack_padded_sequence(features, counts, batch_first=True, enforce_sorted=False)
            features = self.dropout(pad_packed_sequence(rnn(packed)[0], batch_first=True)[0])
        return self.output(features).log_softmax(dim=-1), counts

    def loss(self, frames: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """Return CTC's loss per symbol, the mean over the utterances.

        An utterance with more symbols than its frames can hold adds zero. `targets` are the
        numbers of each utterance's symbols, see `corpora.characters.encode`.
        """
        logs, counts = self(frames)
        sizes = torch.tensor([len(target) for target in targets], device=logs.device)
        padded = pad_sequence(list(targets), batch_first=True, padding_value=PADDING)
        return F.ctc_loss(
            logs.transpose(0, 1),
            padded.to(logs.device),
            counts,
            sizes,
            blank=BLANK,
            zero_infinity=True,
        )

    def texts(self, frames: Sequence[Tensor]) -> list[str]:
        """Return the text of the most probable symbol of every frame, of each utterance."""
        logs, counts = self(frames)
        best = logs.argmax(dim=-1).tolist()
        return [decode(row[:count]) for row, count in zip(best, counts.tolist(), strict=True)]
