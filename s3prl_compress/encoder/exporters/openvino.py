"""Export as a folder for OpenVINO, by way of ONNX."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from ...common.errors import InputError
from ...common.files import folder_atomically
from ...common.validation import check_folder_output
from ..exported.config import KEY, ExportedConfig
from ..exported.graph import EncoderGraph
from ..exported.runtimes import OPENVINO_MODEL, openvino_core
from ..model import SpeechEncoder
from .onnx import clean, onnx_model
from .runtime import RuntimeTarget, Save
from .target import ExportOptions, ExportTarget

_BFLOAT16_CHANNELS = 32
"""Fewest channels of a convolution's groups: with 16, OpenVINO 2026.4 takes forty times as long in
bfloat16 as in float32."""


class OpenVINOTarget(RuntimeTarget):
    """A folder with `model.xml` and `model.bin`."""

    name = "openvino"
    summary = "folder for OpenVINO (model.xml, model.bin): the same graph as onnx; any shape"
    dtypes = ("float32", "bfloat16")
    runtime = "openvino"
    packages = ("onnx", "onnxscript", "openvino")

    def check_dtype(self, dtype: str) -> None:
        """See `ExportTarget.check_dtype`."""
        if dtype == "int8":
            raise InputError(
                "dtype int8: not written for OpenVINO; give float32 or bfloat16 (--format onnx has "
                "int8)"
            )
        super().check_dtype(dtype)

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
        """
        import openvino

        reduced = options.dtype == "bfloat16"
        graph = EncoderGraph(
            encoder,
            last_only=options.states == "last",
            channels_per_group=_BFLOAT16_CHANNELS if reduced else 1,
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(clean(onnx_model(graph)).SerializeToString())
            # Not `convert_model`, which reports its use over the network.
            model = openvino_core().read_model(path)

        def save(folder: Path, config: ExportedConfig) -> None:
            model.set_rt_info(config.model_dump_json(), [KEY])
            openvino.save_model(model, folder / OPENVINO_MODEL, compress_to_fp16=reduced)

        return save

    def temporary(self, output: Path) -> AbstractContextManager[Path]:
        """See `RuntimeTarget.temporary`."""
        return folder_atomically(output)


TARGET: ExportTarget = OpenVINOTarget()
