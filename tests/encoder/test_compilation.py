"""Exporting, compiling, tracing and quantising with torch's own tools."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from s3prl_compress.encoder import SpeechEncoder

from ..support.baselines import baselines, noise, small_encoder, states_of
from .mixed import mixed_encoder

VARIANTS = [("hubert", False), ("wav2vec2", True), ("wavlm", False)]
NAMES = ["hubert-base", "wav2vec2-large", "wavlm-base"]
TOLERANCE = 1e-5  # of each state's largest value


class OneWaveform(nn.Module):
    """An encoder as a function of a tensor, as exporters want it."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        states: tuple[Tensor, ...] = self.encoder([waveform])[0]
        return states


def exported(module: nn.Module, waveform: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    return torch.export.export(module, (waveform,), strict=True).module()


def compiled(module: nn.Module, waveform: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    torch.compiler.reset()
    return torch.compile(module, fullgraph=True, backend="aot_eager")


def traced(module: nn.Module, waveform: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    return torch.jit.trace(module, (waveform,), check_trace=False)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("tool", [exported, compiled, traced])
@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_equals_the_encoder_itself(
    family: str,
    large: bool,
    tool: Callable[[nn.Module, Tensor], Callable[[Tensor], tuple[Tensor, ...]]],
) -> None:
    encoder = mixed_encoder(family, large)
    first, second = noise(6_000, 6_000)
    with torch.no_grad():
        # The eager pass comes first, so that whatever a layer might remember is there.
        expected = states_of(encoder, [second])
        run = tool(OneWaveform(encoder), first)
        found = list(run(second))
    assert baselines.largest_difference(found, expected) <= TOLERANCE


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_dynamic_quantisation_finds_all_dense_linears(family: str) -> None:
    encoder = small_encoder(family, False)
    waveforms = noise(6_000)
    expected = states_of(encoder, waveforms)
    count = sum(type(module) is nn.Linear for module in encoder.modules())
    assert count >= 1 + 6 * len(encoder.shape.layers)
    quantised = torch.ao.quantization.quantize_dynamic(encoder, {nn.Linear})
    kind = torch.ao.nn.quantized.dynamic.Linear
    assert sum(isinstance(module, kind) for module in quantised.modules()) == count
    found = states_of(quantised, waveforms)
    assert 1e-6 < baselines.largest_difference(found, expected) < 0.1
