from __future__ import annotations

from itertools import islice

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s3prl_compress.probing.heads import ParallelHeads
from s3prl_compress.probing.training import Batches, accumulate, predict


def endless(sizes: list[int]) -> Batches:
    start = 0
    while True:
        for size in sizes:
            rows = torch.arange(start, start + size)
            yield rows, rows % 3
            start += size


def test_batches_are_joined_across_the_end_of_an_epoch() -> None:
    joined = accumulate(endless([4, 4, 3]), 2)
    expected: list[tuple[list[int], list[float]]] = [
        (list(range(8)), [1 / 8] * 8),
        (list(range(8, 15)), [1 / 6] * 3 + [1 / 8] * 4),
        (list(range(15, 22)), [1 / 8] * 4 + [1 / 6] * 3),
    ]
    for (rows, labels, shares), (numbers, weights) in zip(joined, expected, strict=False):
        assert rows.tolist() == numbers
        assert labels.tolist() == [number % 3 for number in numbers]
        assert torch.allclose(shares, torch.tensor(weights))
        assert torch.isclose(shares.sum(), torch.tensor(1.0))


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    count=st.integers(1, 9),
)
@settings(max_examples=50, deadline=None)
def test_joining_loses_nothing_and_every_batch_has_the_same_share(
    sizes: list[int], count: int
) -> None:
    single = endless(sizes)
    for rows, labels, shares in islice(accumulate(endless(sizes), count), 4):
        parts = [next(single) for _ in range(count)]
        assert torch.equal(rows, torch.cat([part for part, _ in parts]))
        assert torch.equal(labels, torch.cat([part for _, part in parts]))
        for part in shares.split([len(numbers) for numbers, _ in parts]):
            assert torch.isclose(part.sum(), torch.tensor(1.0 / count))


def test_one_update_of_joined_batches_has_the_sum_of_the_batches_gradients() -> None:
    torch.manual_seed(0)
    features = torch.randn(7, 3, 5)
    labels = torch.randint(4, (7,))
    weights = torch.zeros(3, requires_grad=True)
    projector, output = torch.nn.Linear(5, 6), torch.nn.Linear(6, 4)
    parameters = [weights, *projector.parameters(), *output.parameters()]
    sweep = ParallelHeads(3, 5, 4, (1e-2,), projector_dim=6)
    names = ("layer_weights", "projector_weight", "projector_bias", "output_weight", "output_bias")
    sweep.load_state(dict(zip(names, parameters, strict=True)))
    optimizer = torch.optim.Adam(parameters, lr=1e-2)

    def loss(part: slice) -> Tensor:
        summed = (weights.softmax(0).view(1, -1, 1) * features[part]).sum(1)
        logits = output(projector(summed))
        return torch.nn.functional.cross_entropy(logits, labels[part])

    for _ in range(5):
        for part in (slice(0, 4), slice(4, 7)):
            (loss(part) / 2).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        sweep.update(features, labels, torch.tensor([1 / 8] * 4 + [1 / 6] * 3))
    for name, expected in zip(names, parameters, strict=True):
        assert (sweep.state(0)[name] - expected).detach().abs().max() < 1e-6, name


def test_predictions_come_in_the_order_of_the_rows() -> None:
    torch.manual_seed(0)
    values = torch.randn(3000, 3, 5)
    sweep = ParallelHeads(3, 5, 4, (1e-2, 1e-3))
    sweep.output_weight.normal_()
    rows = torch.randperm(3000)[:2500].tolist()
    expected = sweep.logits(values).argmax(2)[:, rows]
    assert torch.equal(predict(sweep, values, rows), expected)
    assert torch.equal(predict(sweep, values, range(2, 9)), sweep.logits(values[2:9]).argmax(2))
