from __future__ import annotations

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import EncoderShape, dense_shape, macs, random_encoder
from s3prl_compress.encoder import memory as memory_module
from s3prl_compress.encoder.memory import available_bytes, check_memory, forward_bytes
from s3prl_compress.latency.memory import peak_memory

MINUTE = 60 * 16_000
CPU = torch.device("cpu")


def narrow(family: str, conv_width: int, large: bool = False) -> EncoderShape:
    return dense_shape(
        family,  # type: ignore[arg-type]
        hidden=64,
        layers=2,
        heads=4,
        ffn=64,
        conv_widths=(conv_width,) * 7,
        large=large,
    )


@pytest.mark.parametrize(
    "shape",
    [narrow("hubert", 96), narrow("hubert", 96, large=True)],
    ids=["group norm", "layer norm"],
)
def test_the_estimate_is_near_the_measured_peak(shape: EncoderShape) -> None:
    encoder = random_encoder(shape)
    waveforms = [torch.randn(MINUTE), torch.randn(MINUTE - 500)]
    with torch.inference_mode():
        encoder(waveforms)
        peak, _ = peak_memory(lambda: encoder(waveforms))
    assert 1 / 1.5 < forward_bytes(shape, 2, MINUTE) / peak < 1.5


def test_wavlms_memory_is_linear_in_the_length() -> None:
    encoder = random_encoder(narrow("wavlm", 8))
    peaks = []
    with torch.inference_mode():
        for seconds in (30, 90):
            waveform = torch.randn(seconds * 16_000)
            encoder([waveform[:16_000]])
            peaks.append(peak_memory(lambda waveform=waveform: encoder([waveform]))[0])
    # One bias of all frames would be 4 heads x 4,500 x 4,500 numbers, 324 MB.
    assert peaks[1] < 4 * peaks[0] + 20e6


def test_audio_that_does_not_fit_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = random_encoder(narrow("hubert", 8))
    monkeypatch.setattr(memory_module, "available_bytes", lambda device: 1 << 20)
    with pytest.raises(
        InputError, match=r"2 x 60 s .* GiB on cpu, but 0\.0 GiB are available: cut"
    ):
        encoder([torch.zeros(MINUTE), torch.zeros(400)])
    with torch.no_grad():
        encoder([torch.zeros(16_000)])  # short: not even looked at


def test_hours_of_audio_need_more_than_this_machine_has() -> None:
    shape = dense_shape("wavlm")
    available = available_bytes(CPU)
    assert available is not None
    with pytest.raises(InputError, match="cut the recording"):
        check_memory(shape, 1, MINUTE * 10 * (1 + available // (1 << 30)), CPU)
    check_memory(shape, 8, 10 * 16_000, CPU)


def test_no_memory_is_looked_for_where_nothing_is_computed() -> None:
    assert available_bytes(torch.device("meta")) is None
    assert macs(narrow("hubert", 8), (MINUTE + 1,)) > 0
