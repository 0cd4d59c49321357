from __future__ import annotations

import numpy as np
import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.distillation.grouping import linear_cka, similar_groups


def drawn(seed: int, width: int = 6) -> torch.Tensor:
    return torch.randn(200, width, generator=torch.Generator().manual_seed(seed))


def test_similarity_is_that_of_centred_kernels() -> None:
    """The definition by kernels, HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), on a mixture."""
    states = [drawn(0), drawn(0) @ drawn(1)[:6] + 0.5 * drawn(2), drawn(3, width=4) + 5]
    found = linear_cka(states)
    centring = np.eye(200) - 1 / 200
    kernels = [centring @ (own @ own.T).double().numpy() @ centring for own in states]
    for one in range(3):
        for other in range(3):
            top = np.trace(kernels[one] @ kernels[other])
            bottom = np.trace(kernels[one] @ kernels[one]) * np.trace(
                kernels[other] @ kernels[other]
            )
            assert found[one, other] == pytest.approx(top / np.sqrt(bottom), rel=1e-6)
    rotation = torch.linalg.qr(drawn(4)[:6])[0]
    assert linear_cka([drawn(0), 3 * drawn(0) @ rotation + 2])[0, 1] == pytest.approx(1, abs=1e-6)


def test_states_that_are_alike_are_one_group() -> None:
    similarity = np.array(
        [
            [1.0, 0.2, 0.9, 0.1, 0.1],
            [0.2, 1.0, 0.3, 0.1, 0.2],
            [0.9, 0.3, 1.0, 0.1, 0.1],
            [0.1, 0.1, 0.1, 1.0, 0.8],
            [0.1, 0.2, 0.1, 0.8, 1.0],
        ]
    )
    assert similar_groups(similarity, 3) == ((0, 2), (1,), (3, 4))
    assert similar_groups(similarity, 1) == ((0, 1, 2, 3, 4),)
    assert similar_groups(similarity, 5) == ((0,), (1,), (2,), (3,), (4,))
    with pytest.raises(InputError, match="5 hidden states cannot make 6 groups"):
        similar_groups(similarity, 6)
