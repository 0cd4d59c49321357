"""Full float32 on CUDA, so that scores and times do not depend on the GPU's generation.

On GPUs since Ampere, torch by default lets cuDNN's convolutions and LSTMs round the factors of
float32 products to TensorFloat-32, 10 bits of mantissa: about 1e-3 in the hidden states.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Turn TensorFloat-32 off in convolutions, LSTMs and matrix products; restore it afterwards."""
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
    """Tell whether torch may now use TensorFloat-32 in any float32 product on CUDA."""
    try:
        return torch.backends.cudnn.allow_tf32 or torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:
        return any(operator.fp32_precision == "tf32" for operator in _operators())


@contextmanager
def _each_operator() -> Iterator[None]:
    """Do the same where a program has set the operators apart, as torch >= 2.9 allows.

    The common switches raise `RuntimeError` then.
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
