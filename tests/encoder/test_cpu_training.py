from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from s3prl_compress.encoder.cpu_training import attend, spectral_conv

from ..support.small import small_encoder


@pytest.mark.parametrize(("kernel", "groups", "outputs"), [(128, 16, 32), (5, 1, 32), (8, 4, 16)])
def test_spectral_convolutions_are_convolutions(kernel: int, groups: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, upstream = (
        torch.randn(*size, generator=generator)
        for size in (
            (2, 32, 150),
            (outputs, 32 // groups, kernel),
            (outputs,),
            (2, outputs, 150 + 2 * (kernel // 2) - kernel + 1),
        )
    )
    results = []
    for function in (spectral_conv, F.conv1d):
        given = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        options = {"groups": groups} if function is F.conv1d else {}
        y = function(*given, padding=kernel // 2, **options)  # type: ignore[operator]
        y.backward(upstream)
        results.append([y.detach(), *(tensor.grad for tensor in given)])
    for own, torchs in zip(*results, strict=True):
        torch.testing.assert_close(own, torchs, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_and_its_gradients_are_torchs(masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(2, 3, 40, 16, generator=generator) for _ in range(4)]
    mask = torch.ones(2, 1, 1, 40, dtype=torch.bool) if masked else None
    if mask is not None:
        mask[1, ..., 25:] = False
    exact = [tensor.double().requires_grad_() for tensor in tensors[:3]]
    expected = F.scaled_dot_product_attention(*exact, attn_mask=mask, scale=0.3)
    expected.backward(tensors[3].double())
    own = [tensor.bfloat16().requires_grad_() for tensor in tensors[:3]]
    attended = attend(*own, mask, 0.3, training=True)
    assert "Flash" not in str(attended.grad_fn)
    attended.backward(tensors[3].bfloat16())
    pairs = [(attended, expected), *((a.grad, b.grad) for a, b in zip(own, exact, strict=True))]
    for result, wanted in pairs:
        assert result is not None
        assert wanted is not None
        error = (result.double() - wanted).norm() / wanted.norm()
        assert error < 0.01  # bfloat16 has a resolution of 0.004


def test_training_computes_what_inference_does() -> None:
    encoder = small_encoder()
    waveforms = [torch.randn(8000), torch.randn(5000)]
    trained = encoder.train()(waveforms)[0]
    with torch.no_grad():
        used = encoder.eval()(waveforms)[0]
    for ours, theirs in zip(trained, used, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
