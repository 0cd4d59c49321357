"""Linears in oneDNN's layout, for inference on CPUs on which torch's own are slower.

torch multiplies float32 matrices by MKL, which is slower than oneDNN on some processors (AMD's).
`torch.utils.mkldnn` converts a linear, whose weight is then laid out once for oneDNN.
"""

from __future__ import annotations

import os
import time
import warnings
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils import mkldnn

from ..common.errors import InputError
from ..common.linear_kernels import note_linear_kernels
from .linear import LowRankLinear, SharedLinear

Linears = Literal["torch", "onednn"]
"""The library that multiplies matrices."""
VARIABLE = "S3PRL_COMPRESS_LINEARS"
"""Environment variable that replaces the measurement: `torch` or `onednn`."""
GAIN = 1.15
"""Speed-up from which linears are packed."""
SIZE = (256, 768)
"""Rows and columns of the matrices with which the speed-up is measured."""
REPEATS = 7
LEAST = 65_536
"""Elements of the smallest matrix that is packed. On short utterances, products with smaller ones
cost more than they gain: 64 x 256 on 50 frames takes twice as long, 256 x 256 as long, 512 x 256 is
1.3 times as fast (AMD EPYC, 1 thread, torch 2.13.0)."""


class PackedLinear(nn.Module):
    """A linear without gradients whose weight is in oneDNN's layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        with torch.device("meta"):
            linear = nn.Linear(inputs, outputs, bias is not None)
        linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
        if bias is not None:
            linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it uses TorchScript
            self.packed = mkldnn.to_mkldnn(linear)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        y: Tensor = self.packed(x.contiguous())
        return y


class PackedShared(PackedLinear):
    """The packed form of a `SharedLinear`."""

    assignment: Tensor

    def __init__(self, linear: SharedLinear) -> None:
        super().__init__(linear.centroids, linear.centroid_bias)
        self.register_buffer("assignment", linear.assignment)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        return super().forward(x).index_select(-1, self.assignment)


def pack(linear: nn.Module) -> nn.Module | None:
    """Return the packed form of a dense, low-rank or shared linear; None for other modules.

    Linears with a matrix of fewer than `LEAST` elements are not packed.
    """
    if isinstance(linear, nn.Linear) and _is_large(linear.weight):
        return PackedLinear(linear.weight, linear.bias)
    if isinstance(linear, LowRankLinear) and _is_large(linear.factor_in, linear.factor_out):
        return nn.Sequential(
            PackedLinear(linear.factor_in, None), PackedLinear(linear.factor_out, linear.bias)
        )
    if isinstance(linear, SharedLinear) and _is_large(linear.centroids):
        return PackedShared(linear)
    return None


def _is_large(*matrices: Tensor) -> bool:
    return min(matrix.numel() for matrix in matrices) >= LEAST


@cache
def packing_pays() -> bool:
    """Whether packed linears are faster on this machine, by a measurement of some milliseconds.

    It is made once per process; the environment variable S3PRL_COMPRESS_LINEARS replaces it.

    Raises:
        InputError: the variable has another value than torch or onednn.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen not in ("", "torch", "onednn"):
        raise InputError(f"{VARIABLE}={chosen}: must be torch or onednn")
    pays = chosen == "onednn" if chosen else _measured()
    note_linear_kernels("onednn" if pays else "torch")
    return pays


@torch.inference_mode()
def _measured() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    rows, columns = SIZE
    x, linear = torch.ones(rows, columns), nn.Linear(columns, columns)
    packed = PackedLinear(linear.weight, linear.bias)
    best = [float("inf")] * 2
    for _ in range(REPEATS):  # interleaved, so that other work on the machine meets both
        for place, module in enumerate((linear, packed)):
            best[place] = min(best[place], _seconds(module, x))
    return best[0] >= GAIN * best[1]


def _seconds(module: nn.Module, x: Tensor) -> float:
    started = time.perf_counter()
    module(x)
    return time.perf_counter() - started
