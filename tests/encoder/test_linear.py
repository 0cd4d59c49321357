from __future__ import annotations

import copy
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from s3prl_compress.encoder.linear import (
    Linear,
    LowRankLinear,
    SharedLinear,
    SparseLinear,
    build_linear,
    dense_bias,
    dense_weight,
    linear_shape,
    pack_bits,
    unpack_bits,
)
from s3prl_compress.encoder.shape import LinearShape

KINDS = [
    LinearShape(),
    LinearShape(kind="low_rank", rank=3),
    LinearShape(kind="low_rank", rank=0),
    LinearShape(kind="shared", centroids=4),
    LinearShape(kind="sparse", nonzeros=7),
]


def filled(shape: LinearShape) -> Linear:
    generator = torch.Generator().manual_seed(0)
    linear = build_linear(shape, 9, 5)
    for parameter in linear.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    if isinstance(linear, SharedLinear):
        linear.assignment.copy_(torch.arange(9) % len(linear.centroids))
    if isinstance(linear, SparseLinear):
        mask = torch.zeros(45, dtype=torch.bool)
        mask[torch.randperm(45, generator=generator)[:7]] = True
        linear.bitmask.copy_(pack_bits(mask))
    return linear


@pytest.mark.parametrize("shape", KINDS, ids=str)
def test_every_kind_is_the_dense_linear_it_stands_for(shape: LinearShape) -> None:
    linear = filled(shape)
    x = torch.randn(2, 3, 5)
    expected = F.linear(x, dense_weight(linear), dense_bias(linear))
    torch.testing.assert_close(linear(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(linear(x), expected)
    assert linear_shape(linear) == shape


@pytest.mark.parametrize("shape", KINDS[1:], ids=str)
def test_every_kind_can_be_trained(shape: LinearShape) -> None:
    linear = filled(shape)
    linear(torch.randn(4, 5)).square().sum().backward()
    for name, parameter in linear.named_parameters():
        assert parameter.grad is not None, name


@given(st.lists(st.booleans(), max_size=40))
def test_bits_survive_packing(bits: list[bool]) -> None:
    mask = torch.tensor(bits, dtype=torch.bool)
    packed = pack_bits(mask)
    assert len(packed) == (len(bits) + 7) // 8
    assert torch.equal(unpack_bits(packed, len(bits)), mask)


def test_sparse_keeps_the_non_zeros_only() -> None:
    weight = torch.randn(9, 5) * (torch.rand(9, 5) < 0.4)
    linear = SparseLinear.from_dense(weight, torch.randn(9))
    assert len(linear.values) == int((weight != 0).sum())
    assert torch.equal(linear.dense_weight(), weight)


def test_a_changed_weight_is_seen_at_once() -> None:
    linear = SparseLinear.from_dense(torch.eye(4), torch.zeros(4))
    x = torch.ones(1, 4)
    with torch.no_grad():
        assert linear(x).tolist() == [[1, 1, 1, 1]]
        linear.values.mul_(2)
        assert linear(x).tolist() == [[2, 2, 2, 2]]
        twin = copy.deepcopy(linear)
        twin.values.mul_(2)
        assert twin(x).tolist() == [[4, 4, 4, 4]]
        assert linear(x).tolist() == [[2, 2, 2, 2]]
        linear.values.data.mul_(3)  # does not raise the version that autograd counts
        assert linear(x).tolist() == [[6, 6, 6, 6]]
        linear.load_state_dict(twin.state_dict())
        assert linear(x).tolist() == [[4, 4, 4, 4]]


def sparse_of(size: int) -> SparseLinear:
    weight = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    return SparseLinear.from_dense(weight.relu(), torch.zeros(size))


def test_temporary_weights_are_used_though_their_addresses_repeat() -> None:
    linear = sparse_of(300)
    x = torch.randn(3, 300)
    scales = range(20)
    weight = dense_weight(linear).detach()
    with torch.no_grad():
        found = [
            functional_call(linear, {"values": linear.values * scale}, (x,)) for scale in scales
        ]
    for scale, output in zip(scales, found, strict=True):
        torch.testing.assert_close(output, F.linear(x, weight * scale, linear.bias.detach()))


def test_threads_that_alternate_weights_never_get_each_others() -> None:
    linear = sparse_of(8)
    x = torch.ones(1, 8)
    sources = [torch.full_like(linear.values, scale).detach() for scale in range(4)]
    mask = (dense_weight(linear) != 0).float()
    expected = [F.linear(x, mask * scale, linear.bias.detach()) for scale in range(4)]
    replicas = [copy.copy(linear) for _ in sources]  # as DataParallel makes them
    for replica, values in zip(replicas, sources, strict=True):
        replica.__dict__["_parameters"] = dict(linear._parameters) | {"values": values}
    start = threading.Barrier(len(sources))
    wrong = []

    def run(number: int) -> None:
        start.wait()
        with torch.no_grad():
            for _ in range(3000):
                if not torch.allclose(replicas[number](x), expected[number]):
                    wrong.append(number)

    with frequent_thread_switches(), ThreadPoolExecutor(len(sources)) as threads:
        list(threads.map(run, range(len(sources))))
    assert wrong == []


@contextmanager
def frequent_thread_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def test_without_inputs_the_bias_remains() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dense = build_linear(LinearShape(), 3, 0)
    assert dense_bias(dense).tolist() == [0, 0, 0]
    for linear in (dense, LowRankLinear(0, 3, 0)):
        assert isinstance(linear.bias, torch.nn.Parameter)
        torch.nn.init.constant_(linear.bias, 2.0)
        assert linear(torch.zeros(2, 0)).tolist() == [[2, 2, 2]] * 2
