"""SUPERB's utterance head, once per learning rate, all trained at the same time.

The head is s3prl's `Featurizer` (softmax over one weight per layer, from zeros), the expert's
`projector` and `UtteranceLevel` (mean over frames, linear). On features whose mean over frames is
taken already it is, with x[b, l] the mean of layer l,

    z = sum_l softmax(a)_l x_l        p = P z + c        logits = W p + d

Heads have the index r in front of everything. They start from the same weights and see the same
batches, so head r ends where a run at its learning rate alone would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Order and sizes of a head's parameters in its flat vector; the names are those in a state.
_PARTS = ("layer_weights", "projector_weight", "projector_bias", "output_weight", "output_bias")


class HeadSweep:
    """Heads of one shape, one per learning rate; each has its own clipping and Adam state.

    Args:
        layers: hidden states per utterance, L + 1 of the encoder.
        width: size of a hidden state.
        classes: number of classes.
        learning_rates: one head each.
        projector_dim: size between the two linears.
        clipping: largest norm of the gradients of all of a head's parameters together.
        generator: draws the initial weights; it moves on as torch's global one would.
        device: where the heads live and train.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        classes: int,
        learning_rates: Sequence[float],
        *,
        projector_dim: int = 256,
        clipping: float = 1.0,
        generator: torch.Generator | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.learning_rates = tuple(learning_rates)
        self.clipping = clipping
        shapes = ((layers,), (projector_dim, width), (projector_dim,))
        self._shapes = (*shapes, (classes, projector_dim), (classes,))
        heads, size = len(self.learning_rates), sum(math.prod(shape) for shape in self._shapes)
        # All parameters of a head lie in one row: clipping and Adam are one operation per head.
        self.flat = torch.zeros(heads, size, device=device)
        self._gradient = torch.zeros_like(self.flat)
        (
            self.layer_weights,
            self.projector_weight,
            self.projector_bias,
            self.output_weight,
            self.output_bias,
        ) = self._split(self.flat)
        self._gradients = self._split(self._gradient)
        self._rows = [nn.Parameter(row) for row in self.flat]  # views: Adam writes into `flat`
        groups = [
            {"params": [row], "lr": rate}
            for row, rate in zip(self._rows, self.learning_rates, strict=True)
        ]
        fused = self.flat.device.type in ("cpu", "cuda")
        self._optimizer = torch.optim.Adam(groups, fused=fused or None)
        self.load_state(_initial_state(self._shapes, generator))

    def logits(self, features: Tensor) -> Tensor:
        """Map features [batch, layers, width] to logits [heads, batch, classes]."""
        return self._forward(features)[0]

    def update(self, features: Tensor, labels: Tensor, shares: Tensor | None = None) -> Tensor:
        """Make one training step of every head and return their losses, [heads].

        features: [batch, layers, width]; labels: [batch], class numbers; shares: [batch], what an
        utterance's cross entropy is multiplied with in the loss, by default 1 / batch: the mean.
        As in s3prl's runner, a head whose gradient norm is NaN makes no step.
        """
        logits, pooled, middle = self._forward(features)
        log_probabilities = logits.log_softmax(2)
        heads, batch, _ = logits.shape
        if shares is None:
            shares = features.new_full((batch,), 1.0 / batch)
        truth = labels.view(1, batch, 1).expand(heads, batch, 1)
        loss = -torch.matmul(log_probabilities.gather(2, truth).squeeze(2), shares)
        error = log_probabilities.exp_()
        error.scatter_add_(2, truth, error.new_full((1, 1, 1), -1.0).expand(truth.shape))
        self._backward(error.mul_(shares.view(1, batch, 1)), features, pooled, middle)
        self._clip()
        self._optimizer.step()
        return loss

    def state(self, head: int) -> dict[str, Tensor]:
        """Return a copy of one head's weights by name, without the head index."""
        parts = self._split(self.flat[head : head + 1].clone())
        return {name: part[0] for name, part in zip(_PARTS, parts, strict=True)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Give every head these weights (as `state` returns them); Adam's state stays."""
        for name, part in zip(_PARTS, self._split(self.flat), strict=True):
            part.copy_(state[name].detach().expand_as(part))

    def _split(self, flat: Tensor) -> list[Tensor]:
        sizes = [math.prod(shape) for shape in self._shapes]
        parts = flat.split(sizes, dim=1)
        return [
            part.view(len(flat), *shape) for part, shape in zip(parts, self._shapes, strict=True)
        ]

    def _merges(self, batch: int) -> bool:
        """Whether to multiply the two linears with each other first, and not with the batch.

        Counted in multiply-adds of the forward pass. It pays where classes are few: P is then the
        only large matrix, and the batch meets it once.
        """
        (projector_dim, width), (classes, _) = self._shapes[1], self._shapes[3]
        merged = classes * width * (projector_dim + batch)
        return merged < batch * projector_dim * (width + classes)

    def _forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, z [heads, batch, width], and what stands between z and the logits.

        That is W P [heads, classes, width] where the linears are merged, else p
        [heads, batch, projector_dim]. The layers are summed first.
        """
        pooled = torch.matmul(self.layer_weights.softmax(1), features).transpose(0, 1)
        if self._merges(len(features)):
            merged = torch.bmm(self.output_weight, self.projector_weight)
            bias = torch.baddbmm(
                self.output_bias.unsqueeze(2), self.output_weight, self.projector_bias.unsqueeze(2)
            )
            logits = torch.baddbmm(bias.transpose(1, 2), pooled, merged.transpose(1, 2))
            return logits, pooled, merged
        projected = torch.baddbmm(
            self.projector_bias.unsqueeze(1), pooled, self.projector_weight.transpose(1, 2)
        )
        logits = torch.baddbmm(
            self.output_bias.unsqueeze(1), projected, self.output_weight.transpose(1, 2)
        )
        return logits, pooled, projected

    def _backward(self, error: Tensor, features: Tensor, pooled: Tensor, middle: Tensor) -> None:
        """Write all gradients; `error` is the loss's by the logits, [heads, batch, classes]."""
        layer, projector, projector_bias, output, output_bias = self._gradients
        W = self.output_weight
        torch.sum(error, dim=1, out=output_bias)
        if self._merges(len(features)):
            by_merged = torch.bmm(error.transpose(1, 2), pooled)
            torch.mul(output_bias.unsqueeze(2), self.projector_bias.unsqueeze(1), out=output)
            output.baddbmm_(by_merged, self.projector_weight.transpose(1, 2))
            torch.bmm(W.transpose(1, 2), by_merged, out=projector)
            torch.bmm(W.transpose(1, 2), output_bias.unsqueeze(2), out=projector_bias.unsqueeze(2))
            by_pooled = torch.bmm(error, middle)
        else:
            torch.bmm(error.transpose(1, 2), middle, out=output)
            by_projected = torch.bmm(error, W)
            torch.bmm(by_projected.transpose(1, 2), pooled, out=projector)
            torch.sum(by_projected, dim=1, out=projector_bias)
            by_pooled = torch.bmm(by_projected, self.projector_weight)
        by_share = torch.bmm(by_pooled.transpose(0, 1), features.transpose(1, 2)).sum(0)
        share = self.layer_weights.softmax(1)
        layer.copy_(share * (by_share - (share * by_share).sum(1, keepdim=True)))

    def _clip(self) -> None:
        """Scale each head's gradients as `torch.nn.utils.clip_grad_norm_` does."""
        norms = torch.linalg.vector_norm(self._gradient, dim=1)
        scale = (self.clipping / (norms + 1e-6)).clamp(max=1.0).tolist()
        for row, gradient, factor in zip(self._rows, self._gradient, scale, strict=True):
            if factor < 1.0:
                gradient.mul_(factor)
            row.grad = None if math.isnan(factor) else gradient


def _initial_state(
    shapes: Sequence[tuple[int, ...]], generator: torch.Generator | None
) -> dict[str, Tensor]:
    """Return a head as s3prl builds it: zeros, then two `nn.Linear`, the projector first."""
    generator = generator or torch.Generator().manual_seed(0)
    (projector_dim, width), (classes, _) = shapes[1], shapes[3]
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        projector, output = nn.Linear(width, projector_dim), nn.Linear(projector_dim, classes)
        generator.set_state(torch.get_rng_state())
    parts = (projector.weight, projector.bias, output.weight, output.bias)
    values = [torch.zeros(shapes[0]), *(part.detach() for part in parts)]
    return dict(zip(_PARTS, values, strict=True))
