"""Models for OpenVINO compute what PyTorch computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy.signal import lfilter

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import load, load_unless_loaded
from s3prl_compress.encoder.exported.runtimes import has_bfloat16, openvino_core
from s3prl_compress.encoder.exporters import ExportOptions, Speech, find_export_target
from s3prl_compress.encoder.exporters import openvino as openvino_exporter

from .models import group_normed_encoder, odd_encoder, tuned_encoder
from .test_exported import assert_equal_states, exported_as

pytest.importorskip("openvino", reason="the extra openvino is not installed")

needs_bfloat16 = pytest.mark.skipif(
    not has_bfloat16(), reason="this CPU has no bfloat16 instructions"
)

TWO_MODELS = """
import gc, signal, subprocess, sys
from pathlib import Path
from s3prl_compress.encoder.exported.runtimes import OpenVINOSession

sessions = [OpenVINOSession(Path(sys.argv[1]), 1) for _ in range(2)]
for session in sessions:
    session.compile("float32")
del session
while sessions:
    del sessions[0]
    gc.collect()
signal.signal(signal.SIGCHLD, lambda *_: None)
subprocess.run([sys.executable, "-c", ""], check=True)
"""


def test_every_shape_gives_its_states(tmp_path: Path) -> None:
    encoder = odd_encoder()
    exported = exported_as("openvino", encoder, tmp_path / "odd")
    assert_equal_states(encoder, exported)
    assert {path.name for path in exported.path.iterdir()} == {"model.xml", "model.bin"}
    assert load_unless_loaded(exported.path / "model.xml").fingerprint() == exported.fingerprint()  # type: ignore[operator]
    with pytest.raises(InputError, match="an exported model"):
        load(exported.path)


@needs_bfloat16
def test_bfloat16_is_measured_and_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In so small a model, merged groups of the position convolution outweigh everything else.
    monkeypatch.setattr(openvino_exporter, "_BFLOAT16_CHANNELS", 1)
    encoder = tuned_encoder()
    full = exported_as("openvino", encoder, tmp_path / "full")
    half = exported_as("openvino", encoder, tmp_path / "half", dtype="bfloat16")
    assert full.config.error is not None
    assert half.config.error is not None
    assert full.config.error.mean < 1e-4 < half.config.error.mean < 0.05
    sizes = [(one.path / "model.bin").stat().st_size for one in (half, full)]
    assert sizes[0] < 0.6 * sizes[1]


@needs_bfloat16
def test_bfloat16_keeps_filters_that_cancel_most_of_the_signal(tmp_path: Path) -> None:
    encoder = group_normed_encoder()
    conv = encoder.feature_extractor.conv_layers[0].conv
    difference = torch.tensor([-1.0, 1.0])
    with torch.no_grad():
        conv.weight.zero_()
        for channel, filter in enumerate(conv.weight[:, 0]):
            filter[channel % 8 :][:2] = difference
    # Neighbouring samples differ little, as in loud vowels.
    steps = torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    wave = torch.from_numpy(lfilter([1.0], [1.0, -0.995], steps.numpy())).float()
    speech = Speech([0.1 * wave / wave.std()], "filtered noise")
    target = find_export_target("openvino")
    options = ExportOptions(dtype="bfloat16", speech=speech)
    error = target.write(encoder, tmp_path / "half", options)
    assert error is not None
    assert error.worst == pytest.approx(error.mean)
    assert error.mean < 0.04


@pytest.mark.parametrize("dtype", ["int8", "int8_bfloat16"])
@needs_bfloat16
def test_8_bits_are_for_the_products_of_layers(dtype: str, tmp_path: Path) -> None:
    encoder = tuned_encoder()
    full = exported_as("openvino", encoder, tmp_path / "full")
    exported = exported_as("openvino", encoder, tmp_path / "out", dtype=dtype, error_limit=0.2)
    assert exported.config.error is not None
    assert 1e-3 < exported.config.error.mean < 0.1
    # Scales were found on the other half.
    assert full.config.error is not None
    assert 0 < exported.config.error.utterances < full.config.error.utterances
    model = openvino_core().read_model(exported.path / "model.xml")
    constants = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
    small = [op for op in constants if op.get_element_type().get_type_name() == "i8"]
    layers = encoder.shape.layers
    assert len(small) == sum(2 + 4 * bool(layer.heads) for layer in layers)
    with pytest.raises(InputError, match=f"dtype {dtype}: needs speech"):
        find_export_target("openvino").write(encoder, tmp_path / "none", ExportOptions(dtype=dtype))


def test_signals_arrive_after_models_are_gone(tmp_path: Path) -> None:
    exported = exported_as("openvino", tuned_encoder(), tmp_path / "model")
    subprocess.run([sys.executable, "-c", TWO_MODELS, str(exported.path)], check=True)


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net></net>")
    with pytest.raises(InputError, match="exists and is not an earlier export"):
        find_export_target("openvino").check_output(tmp_path)
    with pytest.raises(InputError, match="OpenVINO cannot load it"):
        load_unless_loaded(tmp_path)
