"""Each graph is converted once in all of these tests: tracing one takes seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from s3prl_compress.encoder.exported import EncoderGraph
from s3prl_compress.encoder.exporters import onnx as onnx_exporter
from s3prl_compress.encoder.exporters import openvino as openvino_exporter


@pytest.fixture(scope="package", autouse=True)
def _converted_once() -> Iterator[None]:
    converted: dict[str, bytes] = {}
    convert = onnx_exporter.onnx_model

    def converted_before(graph: EncoderGraph) -> object:
        from onnx import ModelProto

        weights = hashlib.sha256()
        for tensor in graph.state_dict().values():
            weights.update(tensor.numpy().tobytes())
        key = f"{graph.shape.model_dump_json()} {graph.outputs} {weights.hexdigest()}"
        if key not in converted:
            converted[key] = convert(graph).SerializeToString()
        model = ModelProto()
        model.ParseFromString(converted[key])
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_exporter, "onnx_model", converted_before)
        patch.setattr(openvino_exporter, "onnx_model", converted_before)
        yield
