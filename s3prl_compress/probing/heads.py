"""SUPERB's utterance head, once per seed and learning rate, all trained at the same time.

The head is s3prl's `Featurizer` (softmax over one weight per layer, from zeros), the expert's
`projector` and `UtteranceLevel` (mean over frames, linear). On features whose mean over frames is
taken already it is, with x[b, l] the mean of layer l,

    z = sum_l softmax(a)_l x_l        p = P z + c        logits = W p + d

All tensors are stacked with the head's index in front. The heads of a seed start from the same
weights and see the same batches, as a run of that seed at one learning rate would, so every head
ends where its run alone would, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Order and sizes of a head's parameters in its flat vector; the names are those in a state.
_PARTS = ("layer_weights", "projector_weight", "projector_bias", "output_weight", "output_bias")


class Heads:
    """Heads of one shape, stacked: forward pass only.

    Args:
        states: the weights of each head by name, see `state`.
        device: where the heads live.
    """

    def __init__(
        self, states: Sequence[dict[str, Tensor]], device: str | torch.device = "cpu"
    ) -> None:
        self._shapes = [tuple(states[0][name].shape) for name in _PARTS]
        rows = [torch.cat([state[name].detach().flatten() for name in _PARTS]) for state in states]
        # All parameters of a head lie in one row: clipping and Adam are one operation per head.
        self.flat = torch.stack(rows).to(device)
        (
            self.layer_weights,
            self.projector_weight,
            self.projector_bias,
            self.output_weight,
            self.output_bias,
        ) = self._split(self.flat)

    def logits(self, features: Tensor) -> Tensor:
        """Map features to logits [heads, batch, classes].

        features: [batch, layers, width], seen by all heads; or [sets, batch, layers, width], where
        the heads are divided into `sets` equal runs and each run sees a set of its own.
        """
        return self._forward(features)[0]

    def state(self, head: int) -> dict[str, Tensor]:
        """Return a copy of one head's weights by name, without the head index."""
        parts = self._split(self.flat[head : head + 1].clone())
        return {name: part[0] for name, part in zip(_PARTS, parts, strict=True)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Give every head these weights (as `state` returns them)."""
        for name, part in zip(_PARTS, self._split(self.flat), strict=True):
            part.copy_(state[name].detach().expand_as(part))

    def _split(self, flat: Tensor) -> list[Tensor]:
        sizes = [math.prod(shape) for shape in self._shapes]
        parts = flat.split(sizes, dim=1)
        return [
            part.view(len(flat), *shape) for part, shape in zip(parts, self._shapes, strict=True)
        ]

    def _merges(self, batch: int) -> bool:
        """Tell whether to multiply the two linear layers first, before the batch.

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
        if features.dim() == 3:
            features = features.unsqueeze(0)
        sets, batch, layers, _ = features.shape
        share = self.layer_weights.softmax(1).view(sets, 1, -1, layers)
        pooled = torch.matmul(share, features).transpose(1, 2).flatten(0, 1)
        if self._merges(batch):
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


class ParallelHeads(Heads):
    """Heads in training, one per seed and learning rate; each has its own clipping and Adam state.

    Heads of one seed lie side by side, in the order of the learning rates; the seeds follow one
    another.

    Args:
        layers: hidden states per utterance, L + 1 of the encoder.
        width: size of a hidden state.
        classes: number of classes.
        learning_rates: one head each, for every seed.
        projector_dim: size between the two linears.
        clipping: largest norm of the gradients of all of a head's parameters together.
        generators: one per seed, which draws the initial weights of the seed's heads; it moves on
            as torch's global one would. By default one, seeded with 0.
        device: where the heads live and train.
        slots: numbers of classes, if an utterance has one class in each of several slots: the
            logits are then those of the slots side by side, and the loss is the sum of the slots'
            cross entropies. By default, one slot.
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
        generators: Sequence[torch.Generator] = (),
        device: str | torch.device = "cpu",
        slots: Sequence[int] = (),
    ) -> None:
        self.slots = list(slots) or [classes]
        if sum(self.slots) != classes:
            raise ValueError(f"slots of {self.slots} classes do not make up {classes}")
        self.learning_rates = tuple(learning_rates)
        self.clipping = clipping
        shapes: list[tuple[int, ...]] = [(layers,), (projector_dim, width), (projector_dim,)]
        shapes += [(classes, projector_dim), (classes,)]
        rates = len(self.learning_rates)
        super().__init__(
            [
                state
                for generator in generators or (torch.Generator().manual_seed(0),)
                for state in [_initial_state(shapes, generator)] * rates
            ],
            device,
        )
        self._gradient = torch.zeros_like(self.flat)
        self._gradients = self._split(self._gradient)
        self._rows = [nn.Parameter(row) for row in self.flat]  # views: Adam writes into `flat`
        groups = [
            {"params": self._rows[number::rates], "lr": rate}
            for number, rate in enumerate(self.learning_rates)
        ]
        fused = self.flat.device.type in ("cpu", "cuda")
        self._optimizer = torch.optim.Adam(groups, fused=fused or None)

    def update(self, features: Tensor, labels: Tensor, shares: Tensor | None = None) -> Tensor:
        """Make one training step of every head and return their losses, [heads].

        As in s3prl's runner, a head whose gradient norm is NaN makes no step.

        Args:
            features: [batch, layers, width], the same for all seeds, or
                [seeds, batch, layers, width].
            labels: class numbers, [batch] or [seeds, batch]; with several slots, within each slot
                and with the slots as a further, last dimension.
            shares: factor of an utterance's cross entropy in the loss, [batch] or [seeds, batch];
                by default 1 / batch: the mean.
        """
        if features.dim() == 3:
            features = features.unsqueeze(0)
        sets, batch = features.shape[:2]
        if shares is None:
            shares = features.new_full((batch,), 1.0 / batch)
        logits, pooled, middle = self._forward(features)
        heads = len(logits)
        slots = len(self.slots)
        truth = labels.view(-1, 1, batch, slots).expand(sets, heads // sets, batch, slots)
        truth = truth.reshape(heads, batch, slots)
        weights = shares.view(-1, 1, batch, 1).expand(sets, heads // sets, batch, 1)
        weights = weights.reshape(heads, batch, 1)
        by_slot = [
            _cross_entropy(part, own, weights)
            for part, own in zip(logits.split(self.slots, 2), truth.split(1, 2), strict=True)
        ]
        loss = torch.stack([one for one, _ in by_slot]).sum(0)
        error = torch.cat([one for _, one in by_slot], 2) if slots > 1 else by_slot[0][1]
        self._backward(error, features, pooled, middle)
        self._clip()
        self._optimizer.step()
        return loss

    def _backward(self, error: Tensor, features: Tensor, pooled: Tensor, middle: Tensor) -> None:
        """Write all gradients; `error` is the loss's by the logits, [heads, batch, classes]."""
        layer, projector, projector_bias, output, output_bias = self._gradients
        W = self.output_weight
        torch.sum(error, dim=1, out=output_bias)
        sets, batch, layers, _ = features.shape
        if self._merges(batch):
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
        by_pooled = by_pooled.view(sets, -1, *by_pooled.shape[1:]).transpose(1, 2)
        by_share = torch.matmul(by_pooled, features.transpose(2, 3)).sum(1).view(-1, layers)
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


def _cross_entropy(logits: Tensor, truth: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted sum over the batch, [heads], and its gradient by the logits.

    logits: [heads, batch, classes]; truth and weights: [heads, batch, 1].
    """
    log_probabilities = logits.log_softmax(2)
    loss = -(log_probabilities.gather(2, truth) * weights).sum((1, 2))
    error = log_probabilities.exp_()
    error.scatter_add_(2, truth, error.new_full((1, 1, 1), -1.0).expand(truth.shape))
    return loss, error.mul_(weights)


def _initial_state(
    shapes: Sequence[tuple[int, ...]], generator: torch.Generator
) -> dict[str, Tensor]:
    """Return a head as s3prl builds it: zeros, then two `nn.Linear`, the projector first."""
    (projector_dim, width), (classes, _) = shapes[1], shapes[3]
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        projector, output = nn.Linear(width, projector_dim), nn.Linear(projector_dim, classes)
        generator.set_state(torch.get_rng_state())
    parts = (projector.weight, projector.bias, output.weight, output.bias)
    values = [torch.zeros(shapes[0]), *(part.detach() for part in parts)]
    return dict(zip(_PARTS, values, strict=True))
