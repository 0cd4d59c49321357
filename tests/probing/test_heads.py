from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from s3prl_compress.probing.heads import Heads, ParallelHeads

LAYERS, WIDTH, CLASSES, PROJECTOR = 4, 16, 5, 8
RATES = (1e-1, 1e-3, 1e-5)


SLOTS = (2, 3)
"""Classes of an utterance with two slots."""


class OneHead(nn.Module):
    """The head as one would write it down, for torch's own autograd, clipping and Adam."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(LAYERS))
        self.projector = nn.Linear(WIDTH, PROJECTOR)
        self.output = nn.Linear(PROJECTOR, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        summed = (self.weights.softmax(0).view(1, -1, 1) * features).sum(1)
        return self.output(self.projector(summed))

    def state(self) -> dict[str, Tensor]:
        return {
            "layer_weights": self.weights,
            "projector_weight": self.projector.weight,
            "projector_bias": self.projector.bias,
            "output_weight": self.output.weight,
            "output_bias": self.output.bias,
        }


def sweep_of(rates: tuple[float, ...], seed: int = 0, clipping: float = 1.0) -> ParallelHeads:
    generator = torch.Generator().manual_seed(seed)
    return ParallelHeads(
        LAYERS,
        WIDTH,
        CLASSES,
        rates,
        projector_dim=PROJECTOR,
        clipping=clipping,
        generators=[generator],
    )


def batches(count: int, scale: float = 1.0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    return [
        (
            scale * torch.randn(6, LAYERS, WIDTH, generator=generator),
            torch.randint(CLASSES, (6,), generator=generator),
        )
        for _ in range(count)
    ]


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    return max(float((first[name] - second[name]).detach().abs().max()) for name in first)


def test_initial_weights_are_those_of_s3prl_at_the_same_seed() -> None:
    torch.manual_seed(3)
    expected = OneHead().state()
    following = torch.rand(4)
    generator = torch.Generator().manual_seed(3)
    before = torch.get_rng_state()
    sweep = ParallelHeads(
        LAYERS, WIDTH, CLASSES, RATES, projector_dim=PROJECTOR, generators=[generator]
    )
    assert all(largest_difference(sweep.state(head), expected) == 0 for head in range(3))
    assert torch.equal(torch.rand(4, generator=generator), following)
    assert torch.equal(torch.get_rng_state(), before)


def test_updates_are_those_of_torch_with_clipping() -> None:
    for scale in (0.01, 1.0, 100.0):  # gradients below the limit, around it and above
        torch.manual_seed(0)
        sweep, heads = sweep_of(RATES), [OneHead() for _ in RATES]
        optimizers = []
        for number, (head, rate) in enumerate(zip(heads, RATES, strict=True)):
            head.load_state_dict(heads[0].state_dict())
            optimizers.append(torch.optim.Adam(head.parameters(), lr=rate))
            assert number == 0 or largest_difference(head.state(), heads[0].state()) == 0
        sweep.load_state(heads[0].state())
        for features, labels in batches(25, scale):
            losses = sweep.update(features, labels)
            for number, (head, optimizer) in enumerate(zip(heads, optimizers, strict=True)):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(head(features), labels)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
                optimizer.step()
                assert torch.isclose(losses[number], loss, rtol=1e-4, atol=1e-5)
        for number, (head, rate) in enumerate(zip(heads, RATES, strict=True)):
            # Adam moves a weight by up to the rate per step, so rounding grows with the rate.
            limit = max(1e-5, 1e-3 * rate)
            assert largest_difference(sweep.state(number), head.state()) < limit
            assert torch.allclose(sweep.logits(features)[number], head(features), atol=1e-3 * scale)


def test_a_head_of_a_sweep_is_the_single_run_at_its_rate() -> None:
    sweep = sweep_of(RATES)
    singles = [sweep_of((rate,)) for rate in RATES]
    for features, labels in batches(30):
        for heads in (sweep, *singles):
            heads.update(features, labels)
    for number, single in enumerate(singles):
        assert largest_difference(sweep.state(number), single.state(0)) < 1e-6


def test_seeds_train_side_by_side_as_they_would_alone() -> None:
    """The heads of all seeds in one sweep, each seed with a batch of its own."""
    seeds = (0, 1, 2)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    sweep = ParallelHeads(
        LAYERS, WIDTH, CLASSES, RATES, projector_dim=PROJECTOR, generators=generators
    )
    singles = [sweep_of(RATES, seed) for seed in seeds]
    # Large gradients and small ones, so that some heads are clipped and some are not.
    batches_of = [batches(30, scale)[start:] for start, scale in ((0, 1.0), (5, 30.0), (9, 0.1))]
    for step in zip(*batches_of, strict=False):
        features, labels = (torch.stack(part) for part in zip(*step, strict=True))
        shares = torch.stack([torch.rand(6).softmax(0) for _ in seeds])
        losses = sweep.update(features, labels, shares)
        expected = [
            single.update(*batch, share)
            for single, batch, share in zip(singles, step, shares, strict=True)
        ]
        assert torch.allclose(losses, torch.cat(expected), rtol=1e-4, atol=1e-5)
    assert torch.allclose(
        sweep.logits(features),
        torch.cat([single.logits(features[i]) for i, single in enumerate(singles)]),
        atol=1e-3,
    )
    for head in range(len(seeds) * len(RATES)):
        seed, rate = divmod(head, len(RATES))
        assert largest_difference(sweep.state(head), singles[seed].state(rate)) < 1e-5
    fresh = Heads([sweep.state(4), sweep.state(8)])
    assert torch.equal(fresh.state(1)["output_weight"], sweep.state(8)["output_weight"])
    assert torch.allclose(fresh.logits(features[0]), sweep.logits(features[0])[[4, 8]], atol=1e-5)


def test_a_head_without_a_gradient_norm_makes_no_step_and_the_others_do() -> None:
    sweep = sweep_of(RATES)
    (features, labels), (more, more_labels) = batches(2)
    sweep.projector_bias[1, 0] = math.nan
    before = [sweep.state(head) for head in range(3)]
    sweep.update(features, labels)
    assert torch.equal(sweep.state(1)["output_weight"], before[1]["output_weight"])
    for head in (0, 2):
        assert largest_difference(sweep.state(head), before[head]) > 0
    sweep.projector_bias[1, 0] = 0.0  # a later step finds Adam's state as if nothing had been
    fresh = sweep_of(RATES[1:2])
    fresh.load_state(sweep.state(1))
    for heads in (sweep, fresh):
        heads.update(more, more_labels)
    assert largest_difference(sweep.state(1), fresh.state(0)) < 1e-6


def test_loading_a_state_gives_it_to_every_head_and_states_are_copies() -> None:
    sweep, other = sweep_of(RATES), sweep_of(RATES, seed=1)
    state = other.state(0)
    assert largest_difference(sweep.state(0), state) > 0
    sweep.load_state(state)
    assert all(largest_difference(sweep.state(head), state) == 0 for head in range(3))
    sweep.update(*batches(1)[0])
    assert largest_difference(sweep.state(0), state) > 0
    assert largest_difference(other.state(0), state) == 0


@pytest.mark.parametrize("classes", [5, 200])
def test_both_orders_of_the_linears_are_torchs_head(classes: int) -> None:
    sweep = ParallelHeads(LAYERS, WIDTH, classes, RATES, projector_dim=PROJECTOR)
    assert sweep._merges(40) == (classes == 5)
    heads = [OneHead() for _ in RATES]
    for head in heads:
        head.output = nn.Linear(PROJECTOR, classes)
        head.load_state_dict(heads[0].state_dict())
    optimizers = [
        torch.optim.Adam(head.parameters(), lr=rate)
        for head, rate in zip(heads, RATES, strict=True)
    ]
    sweep.load_state(heads[0].state())
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        features = torch.randn(40, LAYERS, WIDTH, generator=generator)
        labels = torch.randint(classes, (40,), generator=generator)
        losses = sweep.update(features, labels)
        for number, (head, optimizer) in enumerate(zip(heads, optimizers, strict=True)):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(head(features), labels)
            assert torch.isclose(losses[number], loss, rtol=1e-4)
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
    for number, head in enumerate(heads):
        assert largest_difference(sweep.state(number), head.state()) < 1e-4


def test_the_loss_of_several_slots_is_the_sum_of_their_cross_entropies() -> None:
    sweep = ParallelHeads(
        LAYERS, WIDTH, CLASSES, (1e-2, 1e-3), projector_dim=PROJECTOR, slots=SLOTS
    )
    head = OneHead()
    with torch.no_grad():
        for name, parameter in head.state().items():
            parameter.copy_(sweep.state(1)[name])
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(3)
    for features, _ in batches(10):
        labels = torch.stack([torch.randint(n, (6,), generator=generator) for n in SLOTS], 1)
        parts = head(features).split(SLOTS, 1)
        loss = sum(nn.functional.cross_entropy(part, labels[:, i]) for i, part in enumerate(parts))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        losses = sweep.update(features, labels)
        assert losses[1] == pytest.approx(loss.item(), abs=1e-5)  # type: ignore[union-attr]
    for name, expected in head.state().items():
        assert (sweep.state(1)[name] - expected).detach().abs().max() < 1e-6, name


def test_slots_that_do_not_make_up_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"slots of \[2, 2\] classes do not make up 5"):
        ParallelHeads(LAYERS, WIDTH, CLASSES, (1e-2,), slots=(2, 2))
