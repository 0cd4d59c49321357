"""The nuclear norm as a penalty, which lowers the rank of matrices before they are factored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

NuclearForm = Literal["fast", "exact", "none"]

_NEWTON_SCHULZ_STEPS = 24
"""With 24 steps, singular values above about 1.5 ** -24 of the Frobenius norm become 1."""


def fast_nuclear_norm(weight: Tensor) -> Tensor:
    """Return the sum of the L2 norms along the shorter side of `weight` [m, n]; O(m n).

    This is an upper bound of the nuclear norm: a matrix is the sum of its rows (or columns), and
    the nuclear norm of a matrix with a single non-zero row is that row's L2 norm.
    """
    over = 1 if weight.shape[0] <= weight.shape[1] else 0
    return torch.linalg.vector_norm(weight, dim=over).sum()


def exact_nuclear_norm(weight: Tensor) -> Tensor:
    """Return the sum of the singular values of `weight` [m, n].

    Its gradient is U V^T, which `polar_factor` computes by matrix products alone; a singular
    value decomposition in every update would take far longer.
    """
    with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
        direction = polar_factor(weight.detach().float())
    return (weight * direction).sum()


def polar_factor(weight: Tensor, steps: int = _NEWTON_SCHULZ_STEPS) -> Tensor:
    """Return U V^T of `weight` = U S V^T [m, n], by X <- X (3 - X^T X) / 2.

    Source: Newton and Schulz; Higham, Functions of Matrices, 2008, section 8.3. Singular values
    in (0, sqrt(3)) go to 1; those that are zero stay zero.
    """
    tall = weight.shape[0] > weight.shape[1]
    x = weight.t() if tall else weight
    x = x / torch.linalg.vector_norm(x).clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(steps):
        x = 1.5 * x - 0.5 * (x @ x.t()) @ x
    return x.t() if tall else x


def nuclear_term(weights: Iterable[Tensor], form: NuclearForm) -> Tensor:
    """Return the sum over all matrices of nuclear norm / sqrt(m n), a scalar.

    The division makes matrices of different sizes comparable: a random m x n matrix with entries
    of unit variance has a nuclear norm of about min(m, n) sqrt(max(m, n)).

    Args:
        weights: the masked matrices, [m, n] each.
        form: fast or exact.

    Raises:
        ValueError: the form is `none`.
    """
    if form == "none":
        raise ValueError("nuclear 'none' has no term")
    norm = fast_nuclear_norm if form == "fast" else exact_nuclear_norm
    terms = [norm(weight) / max(weight.numel(), 1) ** 0.5 for weight in weights]
    return torch.stack(terms).sum()
