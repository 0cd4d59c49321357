"""Export as an ONNX file, for ONNX Runtime."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...common.errors import InputError
from ...common.files import file_atomically
from ...common.validation import check_folder_output
from ..exported.config import KEY, ExportedConfig
from ..exported.graph import INPUTS, EncoderGraph, fewest_samples
from ..model import SpeechEncoder
from .runtime import RuntimeTarget, Save
from .target import ExportOptions, ExportTarget

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SUFFIX = ".onnx"
LARGEST = 2**31 - 1
"""Bytes of a protocol buffer, and so of a single ONNX file."""
_EXAMPLE_FRAMES = 9
_WEIGHTS_OF_PRODUCTS = ("MatMul", "Gemm")


def onnx_model(graph: EncoderGraph) -> ModelProto:
    """Return a graph as an ONNX model with any batch size and any number of samples.

    Raises:
        InputError: the model is too large for one file.
    """
    size = sum(parameter.numel() * 4 for parameter in graph.parameters())
    if size > LARGEST:
        raise InputError(
            f"export: {size / 2**30:.1f} GiB of weights; an ONNX file holds at most 2 GiB"
        )
    fewest, stride = fewest_samples(graph.shape), graph.shape.frame_stride
    samples = fewest + _EXAMPLE_FRAMES * stride
    # Two utterances of different lengths: a batch of one would be taken for a constant.
    example = (torch.zeros(2, samples), torch.tensor([samples, samples - stride]))
    batch = torch.export.Dim("batch")
    sizes = ({0: batch, 1: torch.export.Dim("samples", min=fewest)}, {0: batch})
    return module_to_onnx(graph, example, sizes, INPUTS, graph.outputs)


def module_to_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    sizes: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> ModelProto:
    """Return a module as an ONNX model.

    Args:
        module: the module.
        example: its inputs; a batch of one would be taken for a constant.
        sizes: the sizes that may vary, one for each input, as in `torch.export`.
        inputs: names of the inputs.
        outputs: names of the outputs.
    """
    with _quiet(), torch.no_grad():
        program = torch.export.export(module.eval(), example, dynamic_shapes=sizes, strict=False)
        exported = torch.onnx.export(
            program,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    model: ModelProto = exported.model_proto
    _fold_transposes(model)
    return model


def clean(model: ModelProto) -> ModelProto:
    """Remove the traces of the source code from a model's nodes, and return it."""
    for part in (*model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.metadata_props[:]
    return model


def products_of_layers(model: ModelProto, layers: str = "transformer.layers") -> list[NodeProto]:
    """Return the products with weights of the Transformer's layers, which are in `layers`."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in _WEIGHTS_OF_PRODUCTS
        and node.input[1] in weights
        and any(f"'{layers}." in entry.value for entry in node.metadata_props)
    ]


def quantized(model: ModelProto, layers: str = "transformer.layers") -> ModelProto:
    """Return a model whose Transformer layers multiply weights and activations in 8 bits.

    Every column of a weight has a scale of its own; the scale of the activations is found in each
    pass. Convolutions, attention weights and everything outside of the layers stay in float32:
    8-bit convolutions add a much larger error than all products together.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    names = [node.name for node in products_of_layers(model, layers) if node.op_type == "MatMul"]
    if not names:
        return model
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=names,
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        result = onnx.load(path)
    left = {node.name for node in result.graph.node if node.op_type == "MatMul"} & set(names)
    if left:
        raise RuntimeError(f"ONNX Runtime left {len(left)} of {len(names)} products in float32")
    return result


def write_onnx(model: ModelProto, path: Path, config: ExportedConfig) -> None:
    """Write a model with its metadata."""
    import onnx

    entries = {entry.key: entry for entry in model.metadata_props}
    entry = entries.get(KEY) or model.metadata_props.add(key=KEY)
    entry.value = config.model_dump_json()
    model.producer_name = KEY
    # Not `onnx.save`, which would take the format from a suffix.
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(path)


class OnnxTarget(RuntimeTarget):
    """An ONNX file."""

    name = "onnx"
    summary = "one file for ONNX Runtime: waveforms and lengths in, hidden states out; any shape"
    dtypes = ("float32", "int8")
    runtime = "onnxruntime"
    packages = ("onnx", "onnxruntime", "onnxscript")

    def check_dtype(self, dtype: str) -> None:
        """See `ExportTarget.check_dtype`."""
        if dtype == "bfloat16":
            raise InputError(
                "dtype bfloat16: ONNX Runtime has no such arithmetic on CPUs; give float32 or int8 "
                "(--format openvino has bfloat16)"
            )
        super().check_dtype(dtype)

    def check_output(self, output: Path) -> None:
        """See `ExportTarget.check_output`."""
        if output.suffix != SUFFIX or output.is_dir():
            raise InputError(f"{output}: the format onnx is one file; give a name in {SUFFIX}")
        check_folder_output(output.parent)
        if output.exists() and not _is_earlier_export(output):
            raise InputError(f"{output}: exists and is not an earlier export; choose another name")

    def convert(self, encoder: SpeechEncoder, options: ExportOptions) -> Save:
        """See `RuntimeTarget.convert`."""
        model = onnx_model(EncoderGraph(encoder, last_only=options.states == "last"))
        if options.dtype == "int8":
            model = quantized(model)
        clean(model)
        return lambda path, config: write_onnx(model, path, config)

    def temporary(self, output: Path) -> AbstractContextManager[Path]:
        """See `RuntimeTarget.temporary`."""
        return file_atomically(output)


TARGET: ExportTarget = OnnxTarget()


def _is_earlier_export(path: Path) -> bool:
    with path.open("rb") as file:
        return KEY.encode() in file.read(64)  # the producer, one of the first fields


def _fold_transposes(model: ModelProto) -> None:
    """Transpose weights once; the exporter leaves large ones to every start of the model."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type != "Transpose" or node.input[0] not in weights:
            kept.append(node)
            continue
        values = numpy_helper.to_array(weights[node.input[0]])
        order: Any = next((list(entry.ints) for entry in node.attribute), None)
        folded = np.ascontiguousarray(values.transpose(order))
        model.graph.initializer.append(numpy_helper.from_array(folded, node.output[0]))
    if len(kept) == len(model.graph.node):
        return
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    needed = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(needed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the exporters' messages on missing packages and deprecated functions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
