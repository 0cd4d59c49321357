"""Export of recognisers for sherpa-onnx: an ONNX model of waveforms alone, and its symbols.

sherpa-onnx runs CTC models over raw waveforms as those of "Omnilingual ASR": one input, the
waveform of one utterance, which it has normalised to zero mean and unit variance; one output, the
scores of the symbols; and `tokens.txt`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...common.errors import InputError
from ...common.extras import require_extra
from ...common.files import folder_atomically
from ...common.validation import check_folder_output
from ..ctc_text import SPACE
from ..exported import StateError
from ..exported.config import KEY
from ..exported.graph import INPUTS, LOG_PROBS
from ..model import SpeechEncoder
from .onnx import OnnxTarget
from .target import ExportOptions, ExportTarget

if TYPE_CHECKING:
    from onnx import ModelProto

MODEL, TOKENS = "model.onnx", "tokens.txt"
_BLANK, _SPACE = "<blk>", "\N{LOWER ONE EIGHTH BLOCK}"
"""sherpa-onnx's names of the blank and of the space."""


class SherpaOnnxTarget(ExportTarget):
    """A folder with `model.onnx` and `tokens.txt`."""

    name = "sherpa-onnx"
    summary = "folder for sherpa-onnx (model.onnx, tokens.txt): encoders with a CTC head"
    dtypes = ("float32", "int8")
    measures = True

    def check_dtype(self, dtype: str) -> None:
        """See `ExportTarget.check_dtype`."""
        OnnxTarget().check_dtype(dtype)

    def check_output(self, output: Path) -> None:
        """See `ExportTarget.check_output`."""
        check_folder_output(output)
        names = {path.name for path in output.iterdir()} if output.is_dir() else set()
        if names and names != {MODEL, TOKENS}:
            raise InputError(f"{output}: exists and is not an earlier export; choose another name")

    def write(
        self, encoder: SpeechEncoder, output: Path, options: ExportOptions
    ) -> StateError | None:
        """See `ExportTarget.write`.

        The hidden states are measured on the ordinary ONNX model, from which this one is made.
        """
        require_extra("onnx", f"format {self.name}")
        import onnx

        tokens = _tokens(encoder)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "whole.onnx"
            error = OnnxTarget().write(encoder, path, options)
            model = _waveforms_alone(onnx.load(path))
        with folder_atomically(output) as temporary:
            (temporary / MODEL).write_bytes(model.SerializeToString())
            (temporary / TOKENS).write_text(tokens, encoding="utf-8")
        return error

    def notes(self, encoder: SpeechEncoder) -> tuple[str, ...]:
        """See `ExportTarget.notes`."""
        if encoder.normalize:
            return ()
        return (
            "sherpa-onnx normalises waveforms, and this encoder does not: its GroupNorm takes out "
            "the scale, except for the constant in it; texts of quiet recordings can differ",
        )

    def next_step(self, encoder: SpeechEncoder, output: Path) -> str:
        """See `ExportTarget.next_step`."""
        return (
            f"next: sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc({str(output / MODEL)!r}"
            f", {str(output / TOKENS)!r})"
        )


TARGET: ExportTarget = SherpaOnnxTarget()


def _tokens(encoder: SpeechEncoder) -> str:
    """Return the content of `tokens.txt`.

    Raises:
        InputError: the encoder has no CTC head, depends on the scale of its input, or has symbols
            that the file cannot hold.
    """
    head = encoder.head
    if head is None:
        raise InputError("format sherpa-onnx: writes recognisers, and this model has no CTC head")
    if not encoder.normalize and encoder.shape.conv_norm != "group":
        raise InputError(
            "format sherpa-onnx: normalises waveforms, and this model needs them as they are"
        )
    lines = []
    for number, symbol in enumerate(head.vocabulary):
        name = _BLANK if number == head.blank else _SPACE if symbol in (SPACE, " ") else symbol
        if not name or name.split() != [name]:
            raise InputError(f"format sherpa-onnx: cannot hold the symbol {symbol!r}")
        lines.append(f"{name} {number}\n")
    return "".join(lines)


def _waveforms_alone(model: ModelProto) -> ModelProto:
    """Return a model of whole waveforms whose only output is the scores of the symbols."""
    import numpy as np
    from onnx import helper, numpy_helper, utils

    waveforms, lengths = INPUTS

    def constant(name: str, values: Sequence[int]) -> str:
        model.graph.initializer.append(
            numpy_helper.from_array(np.array(values, dtype=np.int64), name)
        )
        return name

    sizes = [
        helper.make_node("Shape", [waveforms], ["sizes"]),
        helper.make_node("Gather", ["sizes", constant("first", [0])], ["batch"]),
        helper.make_node("Gather", ["sizes", constant("second", [1])], ["samples"]),
        helper.make_node("Expand", ["samples", "batch"], [lengths]),
    ]
    nodes = [*sizes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    given = [one for one in model.graph.input if one.name != lengths]
    del model.graph.input[:]
    model.graph.input.extend(given)
    kept = [entry for entry in model.metadata_props if entry.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    alone: ModelProto = utils.Extractor(model).extract_model([waveforms], [LOG_PROBS])
    alone.producer_name = KEY
    return alone
