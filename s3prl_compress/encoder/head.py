"""The CTC head of a fine-tuned model, which every method and checkpoint keeps."""

from __future__ import annotations

from torch import Tensor, nn


class CTCHead(nn.Module):
    """A linear from the last hidden state to the symbols of a vocabulary."""

    def __init__(self, hidden: int, vocabulary: tuple[str, ...], blank: int) -> None:
        super().__init__()
        if not 0 <= blank < len(vocabulary):
            raise ValueError(f"blank {blank} is outside the vocabulary of {len(vocabulary)}")
        self.vocabulary = vocabulary
        self.blank = blank
        self.linear = nn.Linear(hidden, len(vocabulary))

    def forward(self, last_hidden_state: Tensor) -> Tensor:
        """Map [batch, frames, hidden] to logits [batch, frames, symbols]."""
        return self.linear(last_hidden_state)
