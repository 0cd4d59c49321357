"""Export for ONNX Runtime: an encoder and a decoder.

Inputs and outputs are named as in other exports of Whisper models: `input_features` [batch, bins,
frames] to `last_hidden_state`; `input_ids` [batch, tokens] and `encoder_hidden_states` to `logits`
[batch, tokens, vocabulary]. Batch and tokens may have any size. The decoder has no cache, so every
new token costs a pass over the whole text.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...common.errors import InputError
from ...encoder.exporters import onnx as encoder_onnx
from ..cost import STRIDE
from ..model import Whisper
from .target import Array, Run, WhisperTarget

if TYPE_CHECKING:
    from onnx import ModelProto

ENCODER, DECODER = "encoder_model", "decoder_model"
FEATURES, STATES = "input_features", "last_hidden_state"
TOKENS, MEMORY, LOGITS = "input_ids", "encoder_hidden_states", "logits"


class OnnxTarget(WhisperTarget):
    """A folder with `encoder_model.onnx` and `decoder_model.onnx`."""

    name = "onnx"
    summary = "folder for ONNX Runtime: encoder and decoder of whole Whisper models of any shape"
    dtypes = ("float32", "int8")
    extra = "onnx"
    packages = ("onnx", "onnxruntime", "onnxscript")

    def convert(self, whisper: Whisper, folder: Path, dtype: str, dense: bool, name: str) -> Run:
        """See `WhisperTarget.convert`."""
        import onnxruntime

        sessions = {}
        for part, (model, layers) in whisper_models(whisper).items():
            if dtype == "int8":
                if model.ByteSize() > encoder_onnx.LARGEST:
                    raise InputError(
                        f"{name}: its {part} has more than 2 GiB of weights, which ONNX Runtime "
                        "cannot quantise; give --dtype float32, or --format ctranslate2"
                    )
                model = encoder_onnx.quantized(model, layers)
            path = folder / f"{part}.onnx"
            write(encoder_onnx.clean(model), path)
            sessions[part] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

        def run(features: Array, prompt: Sequence[int]) -> tuple[Array, Array]:
            (states,) = sessions[ENCODER].run(None, {FEATURES: features})
            (logits,) = sessions[DECODER].run(None, {TOKENS: np.array([prompt]), MEMORY: states})
            return states, logits[0, -1]

        return run

    def next_step(self, output: Path) -> str:
        """See `WhisperTarget.next_step`."""
        encoder = output / f"{ENCODER}.onnx"
        return f"next: onnxruntime.InferenceSession({str(encoder)!r})"


TARGET: WhisperTarget = OnnxTarget()


def whisper_models(whisper: Whisper) -> Mapping[str, tuple[ModelProto, str]]:
    """Return encoder and decoder by name, each with the scope of its Transformer layers."""
    model = copy.deepcopy(cast(Any, whisper.model)).to("cpu", torch.float32).eval()
    model.set_attn_implementation("eager")  # the one whose masks can be exported
    shape = whisper.shape
    features = torch.zeros(2, shape.mel_bins, STRIDE * shape.audio_positions)
    states = torch.zeros(2, shape.audio_positions, shape.hidden)
    tokens = torch.zeros(2, min(5, shape.text_positions), dtype=torch.int64)
    batch = torch.export.Dim("batch")
    length = torch.export.Dim("tokens", max=shape.text_positions)
    return {
        ENCODER: (
            encoder_onnx.module_to_onnx(
                _Encoder(model), (features,), ({0: batch},), [FEATURES], [STATES]
            ),
            "encoder.layers",
        ),
        DECODER: (
            encoder_onnx.module_to_onnx(
                _Decoder(model),
                (tokens, states),
                ({0: batch, 1: length}, {0: batch}),
                [TOKENS, MEMORY],
                [LOGITS],
            ),
            "decoder.layers",
        ),
    }


def write(model: ModelProto, path: Path) -> None:
    """Write a model; weights beyond 2 GiB go into a second file beside it."""
    import onnx

    external = model.ByteSize() > encoder_onnx.LARGEST
    options: dict[str, Any] = {"location": f"{path.name}_data"} if external else {}
    onnx.save_model(model, path, save_as_external_data=external, **options)


class _Encoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.model.encoder

    def forward(self, input_features: Tensor) -> Tensor:
        states: Tensor = self.encoder(input_features).last_hidden_state
        return states


class _Decoder(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.output = model.model.decoder, model.proj_out

    def forward(self, input_ids: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        states = self.decoder(
            input_ids=input_ids, encoder_hidden_states=encoder_hidden_states, use_cache=False
        ).last_hidden_state
        logits: Tensor = self.output(states)
        return logits
