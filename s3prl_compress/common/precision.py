"""Full float32 precision on CUDA, so that scores and times do not depend on the GPU's generation.

Since Ampere, torch by default lets cuDNN's convolutions and LSTMs round the factors of float32
products to TensorFloat-32, which has 10 bits of mantissa. It changes hidden states by about 1e-3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Turn off TensorFloat-32 in convolutions, LSTMs and matrix products within the block."""
    cudnn: Any = torch.backends.cudnn
    try:
        convolutions, products = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        with _each_operator():
            yield
        return
    try:
        cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def uses_tf32() -> bool:
    """Return whether torch may currently use TensorFloat-32 in any float32 product on CUDA."""
    try:
        return torch.backends.cudnn.allow_tf32 or torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:
        return any(operator.fp32_precision == "tf32" for operator in _operators())


@contextmanager
def _each_operator() -> Iterator[None]:
    """Do the same operator by operator.

    Since torch 2.9 a program can set operators separately; then the common switches raise
    `RuntimeError`.
    """
    before = [(operator, operator.fp32_precision) for operator in _operators()]
    try:
        for operator, _ in before:
            operator.fp32_precision = "ieee"
        yield
    finally:
        for operator, precision in before:
            operator.fp32_precision = precision


def _operators() -> tuple[Any, ...]:
    cudnn: Any = torch.backends.cudnn
    return cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul
