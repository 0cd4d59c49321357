"""Export as a folder for OpenVINO, by way of ONNX."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ...common.errors import InputError
from ...common.files import folder_atomically
from ...common.validation import check_folder_output
from ..exported.config import KEY, ExportedConfig
from ..exported.graph import INPUTS, EncoderGraph
from ..exported.runtimes import OPENVINO_MODEL, openvino_core
from ..model import SpeechEncoder
from .onnx import clean, onnx_model, products_of_layers
from .runtime import RuntimeTarget, Save
from .target import ExportOptions, ExportTarget, Speech

if TYPE_CHECKING:
    import openvino

_BFLOAT16_CHANNELS = 32
"""Fewest channels of a convolution's groups: with 16, OpenVINO 2026.4 takes forty times as long in
bfloat16 as in float32."""


class OpenVINOTarget(RuntimeTarget):
    """A folder with `model.xml` and `model.bin`."""

    name = "openvino"
    summary = "folder for OpenVINO (model.xml, model.bin): the same graph as onnx; any shape"
    dtypes = ("float32", "bfloat16", "int8", "int8_bfloat16")
    runtime = "openvino"
    packages = ("onnx", "onnxscript", "openvino", "nncf")

    def check_output(self, output: Path) -> None:
        """See `ExportTarget.check_output`."""
        check_folder_output(output)
        if not output.is_dir() or not any(output.iterdir()):
            return
        model = output / OPENVINO_MODEL
        if not model.is_file() or KEY not in model.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f"{output}: exists and is not an earlier export; choose another name")

    def convert(self, encoder: SpeechEncoder, options: ExportOptions) -> Save:
        """See `RuntimeTarget.convert`.

        A model for bfloat16 arithmetic has weights in float16, which is more precise and takes half
        the space of float32.

        Raises:
            InputError: 8-bit products, without speech to find the scales of their activations on.
        """
        import openvino

        small, reduced = options.dtype.startswith("int8"), options.dtype.endswith("bfloat16")
        if small and options.speech is None:
            raise InputError(f"dtype {options.dtype}: needs speech, to find scales on")
        graph = EncoderGraph(
            encoder,
            last_only=options.states == "last",
            channels_per_group=_BFLOAT16_CHANNELS if reduced else 1,
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            converted = onnx_model(graph)
            products = {node.name for node in products_of_layers(converted)}
            path.write_bytes(clean(converted).SerializeToString())
            # Not `convert_model`, which reports its use over the network.
            model = openvino_core().read_model(path)
        if small and products and options.speech is not None:
            model = quantized(model, products, _halves(options.speech)[0])

        def save(folder: Path, config: ExportedConfig) -> None:
            model.set_rt_info(config.model_dump_json(), [KEY])
            openvino.save_model(model, folder / OPENVINO_MODEL, compress_to_fp16=reduced)

        return save

    def temporary(self, output: Path) -> AbstractContextManager[Path]:
        """See `RuntimeTarget.temporary`."""
        return folder_atomically(output)

    def measured_on(self, options: ExportOptions) -> Speech | None:
        """See `RuntimeTarget.measured_on`: not on what scales were found on."""
        if options.speech is None or not options.dtype.startswith("int8"):
            return options.speech
        return Speech(_halves(options.speech)[1], options.speech.source)


def quantized(
    model: openvino.Model, products: set[str], waveforms: Sequence[Tensor]
) -> openvino.Model:
    """Return a model that computes some products in 8 bits, and everything else as before.

    Every row of a weight has a scale of its own. Those of the activations are constants, found on
    speech, after they were evened out between activations and weights (SmoothQuant).

    Args:
        model: the model, which is changed.
        products: names of the products.
        waveforms: 1-D, at 16 kHz.
    """
    os.environ.setdefault("NNCF_CI", "1")  # otherwise it reports its use over the network
    import nncf

    nodes = [op for op in model.get_ops() if op.get_type_name() not in ("Constant", "Result")]
    others = [name for op in nodes if (name := op.get_friendly_name()) not in products]
    if len(nodes) - len(others) != len(products):
        raise RuntimeError(f"{len(nodes) - len(others)} of {len(products)} products were found")
    inputs = [
        dict(zip(INPUTS, (wave[None].numpy(), np.array([len(wave)])), strict=True))
        for wave in waveforms
    ]
    with contextlib.redirect_stdout(sys.stderr):  # for its progress bars
        result: openvino.Model = nncf.quantize(
            model,
            nncf.Dataset(inputs),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=others, validate=False),
            subset_size=len(inputs),
        )
    return result


def _halves(speech: Speech) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return every other utterance, and the rest; a single one twice."""
    waveforms = speech.waveforms
    return waveforms[::2], waveforms[1::2] or waveforms


TARGET: ExportTarget = OpenVINOTarget()
