"""Export for OpenVINO: the encoder and the decoder of the format `onnx`, converted once more."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...common.errors import InputError
from ...encoder.exported.runtimes import has_bfloat16, openvino_core
from ...encoder.exporters.onnx import clean
from ..model import Whisper
from . import onnx
from .target import Array, Run, WhisperTarget


class OpenVINOTarget(WhisperTarget):
    """A folder with `openvino_encoder_model.xml` and `openvino_decoder_model.xml`.

    For bfloat16 arithmetic, weights are stored in float16, which takes half the space.
    """

    name = "openvino"
    summary = "folder for OpenVINO: encoder and decoder of whole Whisper models of any shape"
    dtypes = ("float32", "bfloat16")
    extra = "openvino"
    packages = ("onnx", "onnxscript", "openvino")

    def convert(self, whisper: Whisper, folder: Path, dtype: str, dense: bool, name: str) -> Run:
        """See `WhisperTarget.convert`."""
        import openvino

        reduced, core = dtype == "bfloat16", openvino_core()
        if reduced and not has_bfloat16():
            raise InputError(
                "dtype bfloat16: this CPU has no instructions for it, so the model could not be "
                "measured; give float32"
            )
        requests = {}
        for part, (model, _) in onnx.whisper_models(whisper).items():
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "model.onnx"
                onnx.write(clean(model), path)
                read = core.read_model(path)
                written = folder / f"openvino_{part}.xml"
                openvino.save_model(read, written, compress_to_fp16=reduced)
            hint = {"INFERENCE_PRECISION_HINT": "bf16" if reduced else "f32"}
            requests[part] = core.compile_model(written, "CPU", hint).create_infer_request()

        def run(features: Array, prompt: Sequence[int]) -> tuple[Array, Array]:
            (states,) = requests[onnx.ENCODER].infer({onnx.FEATURES: features}).values()
            given = {onnx.TOKENS: np.array([prompt]), onnx.MEMORY: states}
            (logits,) = requests[onnx.DECODER].infer(given).values()
            return states, logits[0, -1]

        return run

    def next_step(self, output: Path) -> str:
        """See `WhisperTarget.next_step`."""
        encoder = output / f"openvino_{onnx.ENCODER}.xml"
        return f"next: openvino.Core().read_model({str(encoder)!r})"


TARGET: WhisperTarget = OpenVINOTarget()
