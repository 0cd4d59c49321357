"""The metadata of an exported file: everything that is needed to score it without its checkpoint.

They are one JSON text under the key `s3prl_compress`: in `metadata_props` of an ONNX file, in
`rt_info` of an OpenVINO model.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...common.errors import InputError
from ...common.json_text import parse_json
from ...common.model_errors import first_mistake
from ..checkpoint import HeadConfig
from ..provenance import Provenance
from ..shape import EncoderShape

KEY = "s3prl_compress"
EXPORTED_FORMAT: Literal["s3prl_compress.exported"] = "s3prl_compress.exported"

Runtime = Literal["onnxruntime", "openvino"]
ExportedType = Literal["float32", "bfloat16", "int8", "int8_bfloat16"]

TITLES: dict[Runtime, str] = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
"""Names of the runtimes in words."""


class StateError(BaseModel):
    """Difference of an exported model's hidden states from those of PyTorch in float32.

    For one utterance and state it is `|x - y| / |x|`, with x PyTorch's frames and y the model's,
    both less their mean over time, so that constants do not count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    """Over all exported states and utterances."""
    states: tuple[float, ...]
    """Of every exported state, mean over utterances."""
    worst: float | None = None
    """Of the worst utterance, mean over states; None in files from before it was measured."""
    limit: float
    """Largest mean with which the model was to be written."""
    audio: str
    """The speech, in words."""
    utterances: int
    seconds: float


class ExportedConfig(BaseModel):
    """The content of the metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["s3prl_compress.exported"] = EXPORTED_FORMAT
    format_version: Literal[1] = 1
    runtime: Runtime
    dtype: ExportedType
    """Number format of the arithmetic. int8: of the Transformer layers' products with weights,
    float32 or bfloat16 elsewhere."""
    states: Literal["all", "last"]
    """Which hidden states the model returns."""
    shape: EncoderShape
    normalize: bool
    """Whether the model normalises each waveform to zero mean and unit variance first."""
    normalize_eps: float = Field(gt=0)
    sampling_rate: Literal[16000] = 16000
    head: HeadConfig | None
    encoder_sha256: str
    """Fingerprint of the encoder that was exported."""
    provenance: Provenance
    packages: dict[str, str]
    """Versions of the packages that wrote the file."""
    error: StateError | None = None
    """Measured when the file was written."""

    @property
    def exported_shape(self) -> EncoderShape:
        """Shape of an encoder that returns the exported states.

        With the last state alone it is that of an encoder without layers.
        """
        if self.states == "all":
            return self.shape
        return self.shape.model_copy(update={"layers": (), "hidden_states": None})


def read_metadata(text: str | None, where: str) -> ExportedConfig:
    """Parse and check the metadata of a file.

    Raises:
        InputError: there are none, or they are damaged or of a newer version.
    """
    if text is None:
        raise InputError(
            f"{where}: not an export of s3prl_compress (it has no metadata {KEY!r}); files of "
            "other programs cannot be scored, so write one with: s3prl-compress export MODEL"
        )
    try:
        data = parse_json(text)
        if data["format_version"] != 1:
            raise InputError(
                f"{where}: format version {data['format_version']!r}, but this version of "
                "s3prl_compress reads only version 1; update it"
            )
        return ExportedConfig.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{where}: metadata {KEY!r}: {first_mistake(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: damaged metadata {KEY!r}; export the model again") from error
