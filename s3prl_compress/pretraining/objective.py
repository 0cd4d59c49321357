"""HuBERT's masked prediction: predict the clusters of masked frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ..encoder import SpeechEncoder


class ObjectiveSettings(BaseModel):
    """Settings of the loss; the defaults are HuBERT's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code_size: int = Field(default=256, ge=1)
    """Width of the code embeddings."""
    temperature: float = Field(default=0.1, gt=0)
    """Divisor of the cosines."""
    masked_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss on masked frames."""
    unmasked_weight: float = Field(default=0.0, ge=0)
    """Weight of the loss on frames that are not masked."""
    feature_penalty: float = Field(default=10.0, ge=0)
    """Weight of the penalty on the mean square of the convolutions' output."""


class MaskedPrediction(nn.Module):
    """An encoder with the prediction head of pre-training, which is discarded afterwards.

    HuBERT's dropout and layer drop are not applied, since the encoder has neither. Its factor of
    0.1 on the gradients of the convolutions is not applied, either: AdamW would cancel it.

    Source: HuBERT (arXiv 2106.07447), equations 1 to 3; penalty as in fairseq's criterion.
    """

    def __init__(
        self, encoder: SpeechEncoder, clusters: int, settings: ObjectiveSettings, seed: int
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.final_proj = nn.Linear(encoder.shape.hidden, settings.code_size)
            self.codes = nn.Parameter(torch.rand(clusters, settings.code_size))

    def forward(
        self, waveforms: Sequence[Tensor], targets: Tensor, masks: Tensor
    ) -> dict[str, Tensor]:
        """Return the scalars `loss`, `masked_loss`, `accuracy` (of masked frames), `penalty`.

        Args:
            waveforms: 1-D, at 16 kHz.
            targets: cluster of every frame, [batch, frames]; -1 in padding.
            masks: True where a frame is masked, [batch, frames].
        """
        encoder = self.encoder
        features, valid, _ = encoder.features(waveforms)
        masks, targets = masks.to(features.device), targets.to(features.device)
        penalty = _mean_square(features, valid)
        x = encoder.feature_projection(features)
        x = torch.where(masks.unsqueeze(-1), encoder.masked_spec_embed.to(x.dtype), x)
        output = encoder.encoder(x, valid)[-1]

        masked_loss, accuracy = self._predict(output[masks], targets[masks])
        loss = self.settings.masked_weight * masked_loss + self.settings.feature_penalty * penalty
        if self.settings.unmasked_weight:
            seen = ~masks & (targets >= 0)
            loss = (
                loss + self.settings.unmasked_weight * self._predict(output[seen], targets[seen])[0]
            )
        return {
            "loss": loss,
            "masked_loss": masked_loss.detach(),
            "accuracy": accuracy,
            "penalty": penalty.detach(),
        }

    def _predict(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return cross entropy and accuracy on frames [n, hidden] with targets [n]."""
        with torch.autocast(hidden.device.type, enabled=False):  # cosines in full precision
            projected = F.linear(hidden.float(), self.final_proj.weight, self.final_proj.bias)
            cosines = F.normalize(projected, dim=-1) @ F.normalize(self.codes, dim=-1).t()
            logits = cosines / self.settings.temperature
            # Summed, not averaged: without any frame the loss is then 0, not NaN.
            loss = F.cross_entropy(logits, targets, reduction="sum") / max(len(targets), 1)
        accuracy = (logits.detach().argmax(-1) == targets).float().mean()
        return loss, accuracy


def _mean_square(features: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean square of features [batch, frames, width] over frames without padding."""
    squares = features.float().square().mean(-1)
    return squares.mean() if valid is None else squares[valid].mean()
