"""The checkpoint folder: `config.json` and `model.safetensors`, read strictly, written atomically.

It never contains a pickle. The same folder can be uploaded to a model hub unchanged, and loads in
transformers (see `companions`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..common.errors import InputError
from ..common.files import folder_atomically
from ..common.json_text import parse_json
from ..common.model_errors import first_mistake
from ..common.validation import check_folder_output
from .adapter import UpstreamAdapter
from .companions import TRANSFORMERS_KEYS, companion_files, transformers_keys
from .head import CTCHead
from .layers import DerivedBuffers
from .linear import SharedLinear, SparseLinear, unpack_bits
from .model import FAIRSEQ_EPS, SpeechEncoder
from .provenance import Provenance
from .serialization import StoredType, check_stored_type, stored_tensors, stored_type
from .shape import EncoderShape

FORMAT: Literal["s3prl_compress.encoder"] = "s3prl_compress.encoder"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class HeadConfig(BaseModel):
    """The vocabulary of a fine-tuned checkpoint's CTC head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocabulary: tuple[str, ...]
    blank: int

    @model_validator(mode="after")
    def _blank_is_a_symbol(self) -> HeadConfig:
        if not 0 <= self.blank < len(self.vocabulary):
            raise ValueError(
                f"blank {self.blank} is outside the vocabulary of {len(self.vocabulary)}"
            )
        return self


class CheckpointConfig(BaseModel):
    """The content of `config.json`, without transformers' keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["s3prl_compress.encoder"] = FORMAT
    format_version: Literal[1, 2] = 2
    """Since version 2 the file has transformers' keys, too."""
    shape: EncoderShape
    normalize: bool
    """Normalise each waveform to zero mean and unit variance first."""
    normalize_eps: float = Field(default=FAIRSEQ_EPS, gt=0)
    """Added to the variance of the waveform before the square root."""
    sampling_rate: Literal[16000] = 16000
    stored_as: StoredType = "float32"
    """Type of the weights on disk. In memory they are always float32."""
    head: HeadConfig | None = None
    provenance: Provenance


def save_folder(
    encoder: SpeechEncoder, folder: str | Path, dtype: torch.dtype = torch.float32
) -> Path:
    """Write a checkpoint folder atomically, replacing an older checkpoint of the same name.

    Raises:
        InputError: `folder` exists and is not a checkpoint, a weight is too large for `dtype`, or
            `load` would refuse the folder (see `check_weights`). Nothing is written then.
    """
    folder = Path(folder)
    check_replaceable(folder)
    head = encoder.head
    config = CheckpointConfig(
        shape=encoder.shape,
        normalize=encoder.normalize,
        normalize_eps=encoder.normalize_eps,
        head=None if head is None else HeadConfig(vocabulary=head.vocabulary, blank=head.blank),
        provenance=encoder.provenance,
        stored_as=stored_type(dtype),
    )
    check_weights(encoder, f"{folder}: not written")
    return write_folder(
        folder,
        config,
        stored_tensors(encoder.state_dict(), dtype),
        companion_files(encoder),
        transformers_keys(encoder, config.stored_as),
    )


def write_folder(
    folder: Path,
    config: BaseModel,
    tensors: Mapping[str, Tensor],
    files: Mapping[str, bytes] | None = None,
    keys: Mapping[str, Any] | None = None,
) -> Path:
    """Write `config.json`, `model.safetensors` and further files atomically.

    Args:
        folder: it may be replaced; check this by `check_replaceable`.
        config: content of `config.json`.
        tensors: on the CPU and contiguous.
        files: content of further files by name.
        keys: further keys of `config.json`.
    """
    whole = {**(keys or {}), **config.model_dump(mode="json")}
    with folder_atomically(folder) as temporary:
        (temporary / CONFIG_FILE).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        save_file(dict(tensors), temporary / WEIGHTS_FILE, metadata={"format": "pt"})
        for name, content in (files or {}).items():
            (temporary / name).write_bytes(content)
    return folder


def check_weights(encoder: SpeechEncoder, where: str) -> None:
    """Check an encoder's weights against its shape, as `load` will.

    They can disagree after another package has removed weights from the encoder.

    Raises:
        InputError: a tensor is missing, unexpected, of the wrong size, or not finite; the message
            names the first one.
    """
    head = encoder.head
    config = None if head is None else HeadConfig(vocabulary=head.vocabulary, blank=head.blank)
    expected = _empty(encoder.shape, config).state_dict()
    state = encoder.state_dict()
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    try:
        check_tensors(expected, given, where)
    except InputError as error:
        hint = "; after changing the sizes of weights, update `encoder.shape` to match"
        raise InputError(f"{error}{hint}") from error
    for name, tensor in state.items():
        if tensor.dtype.is_floating_point:
            _check_finite(name, tensor, where)
    _check_linears(encoder, where)


def is_checkpoint(folder: str | Path) -> bool:
    """Say whether `folder` holds an encoder of this package, intact or damaged."""
    return checkpoint_format(folder) == FORMAT


def checkpoint_format(folder: str | Path) -> str | None:
    """Return the format that a folder's `config.json` names, if it is one of this package."""
    try:
        config = parse_json((Path(folder) / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = config.get("format") if isinstance(config, dict) else None
    return name if isinstance(name, str) and name.startswith("s3prl_compress.") else None


def read_config(folder: str | Path) -> CheckpointConfig:
    """Read and check `config.json`.

    Raises:
        InputError: it is missing, of another program, or does not describe an encoder.
    """
    return read_config_as(CheckpointConfig, FORMAT, folder, versions=(1, 2))


Config = TypeVar("Config", bound=BaseModel)


def read_config_as(
    kind: type[Config], format: str, folder: str | Path, versions: Sequence[int] = (1,)
) -> Config:
    """Read and check a `config.json` of a format of this package, without transformers' keys.

    Raises:
        InputError: it is missing, of another program or format, or invalid.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        data: Any = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); the file is damaged") from error
    if not isinstance(data, dict) or data.get("format") != format:
        raise InputError(
            f"{path}: not a checkpoint of s3prl_compress (its format is not {format!r})"
        )
    if data.get("format_version") not in versions:
        raise InputError(
            f"{path}: format version {data.get('format_version')!r}, but this version of "
            f"s3prl_compress reads only version {' and '.join(map(str, versions))}; update it"
        )
    try:
        return kind.model_validate(
            {key: value for key, value in data.items() if key not in TRANSFORMERS_KEYS}
        )
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from error


def load_folder(folder: str | Path) -> SpeechEncoder:
    """Read a checkpoint folder, strictly.

    Raises:
        InputError: the file is truncated; a tensor is missing or unexpected, or its size or type
            is not what config.json says; a weight is not finite; or an assignment is out of
            range. The message names the file or the tensor.
    """
    folder = Path(folder)
    config = read_config(folder)
    path = folder / WEIGHTS_FILE
    encoder = _empty(config.shape, config.head)
    encoder.normalize, encoder.normalize_eps = config.normalize, config.normalize_eps
    encoder.provenance, encoder.stored_as = config.provenance, config.stored_as
    state = read_tensors(path, encoder.state_dict(), config.stored_as)
    fill(encoder, state, str(path))
    return encoder


def read_tensors(
    path: Path, expected: Mapping[str, Tensor], stored_as: StoredType
) -> dict[str, Tensor]:
    """Read a safetensors file after checking names, sizes and types in its header.

    Args:
        path: the file.
        expected: tensors of the expected names and sizes, possibly on the meta device.
        stored_as: expected type of floating-point tensors.

    Raises:
        InputError: the file is truncated, or something is not as expected.
    """
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            given = {name: tuple(part.get_shape()) for name, part in slices.items()}
            check_tensors(expected, given, str(path))
            for name, part in slices.items():
                check_stored_type(name, part.get_dtype(), stored_as, str(path))
            return {name: file.get_tensor(name) for name in given}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); truncated or not safetensors"
        ) from error


def _empty(shape: EncoderShape, head: HeadConfig | None) -> SpeechEncoder:
    """Return an encoder on the meta device, which allocates nothing."""
    with torch.device("meta"):
        encoder = SpeechEncoder(shape)
        if head is not None:
            encoder.head = CTCHead(shape.hidden, head.vocabulary, head.blank)
    return encoder


def fill(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Give a model on the meta device its weights, as float32 and without copying them.

    Raises:
        InputError: a tensor has the wrong kind of type, or is not finite, or its values are
            inconsistent.
    """
    tensors = {}
    for name, expected in model.state_dict().items():
        tensor = state[name]
        if expected.dtype.is_floating_point:
            if not tensor.dtype.is_floating_point:
                raise InputError(f"{where}: tensor {name} is {tensor.dtype}, not floating point")
            tensor = tensor.to(torch.float32)
            _check_finite(name, tensor, where)
        elif tensor.dtype.is_floating_point:
            raise InputError(f"{where}: tensor {name} is {tensor.dtype}, not an integer type")
        tensors[name] = tensor.to(expected.dtype)
    model.load_state_dict(tensors, strict=True, assign=True)
    rebuild_buffers(model)
    _check_linears(model, where)


def _check_finite(name: str, tensor: Tensor, where: str) -> None:
    if not torch.isfinite(tensor).all():
        raise InputError(f"{where}: tensor {name} holds NaN or infinite weights")


def rebuild_buffers(model: nn.Module) -> None:
    """Build the buffers that follow from the shape, which are not stored."""
    for module in model.modules():
        if isinstance(module, DerivedBuffers):
            module.build()


def check_tensors(
    expected: Mapping[str, Tensor], given: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Compare names and sizes.

    Raises:
        InputError: a tensor is missing, unexpected, or of the wrong size; the message names the
            first one and counts the others.
    """
    missing = sorted(set(expected) - set(given))
    surplus = sorted(set(given) - set(expected))
    wrong = [
        f"{name} has the size {list(given[name])}, but the shape says {list(expected[name].shape)}"
        for name in sorted(set(expected) & set(given))
        if tuple(given[name]) != tuple(expected[name].shape)
    ]
    faults = (
        [f"tensor {name} is missing" for name in missing]
        + [f"tensor {name} does not belong" for name in surplus]
        + [f"tensor {text}" for text in wrong]
    )
    if faults:
        others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InputError(f"{where}: {faults[0]}{others}")


def _check_linears(model: nn.Module, where: str) -> None:
    for name, module in model.named_modules():
        if isinstance(module, SharedLinear):
            highest = int(module.assignment.max()) if len(module.assignment) else 0
            lowest = int(module.assignment.min()) if len(module.assignment) else 0
            if lowest < 0 or highest >= len(module.centroids):
                raise InputError(
                    f"{where}: tensor {name}.assignment points to centroid {highest} of "
                    f"{len(module.centroids)}"
                )
        elif isinstance(module, SparseLinear):
            size = module.in_features * module.out_features
            ones = int(unpack_bits(module.bitmask, len(module.bitmask) * 8).sum())
            inside = int(unpack_bits(module.bitmask, size).sum())
            if ones != inside or inside != len(module.values):
                raise InputError(
                    f"{where}: tensor {name}.bitmask marks {ones} weights, but "
                    f"{len(module.values)} are stored"
                )


def fingerprint(encoder: SpeechEncoder | UpstreamAdapter) -> str:
    """Return the SHA-256 of shape, normalisation and weights, in hexadecimal digits.

    It identifies what an encoder computes. Neither its history nor its padding is included;
    records and caches store the padding themselves.
    """
    if isinstance(encoder, UpstreamAdapter):
        return encoder.fingerprint()
    digest = hashlib.sha256(encoder.shape.model_dump_json().encode())
    digest.update(f"normalize={encoder.normalize}".encode())
    # The default is left out, so that fingerprints in older records stay valid.
    if encoder.normalize and encoder.normalize_eps != FAIRSEQ_EPS:
        digest.update(f"normalize_eps={encoder.normalize_eps}".encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        data = tensor.detach().cpu().contiguous().flatten()
        digest.update(data.view(torch.uint8).numpy().data if data.numel() else b"")
    return digest.hexdigest()


def check_checkpoint_output(folder: str | Path) -> Path:
    """Return the folder if a checkpoint may be written there.

    Raises:
        InputError: it exists and is neither empty nor a checkpoint of this package.
    """
    folder = check_folder_output(folder)
    check_replaceable(folder)
    return folder


def check_replaceable(folder: Path) -> None:
    """Check that a checkpoint may be written to `folder`.

    Raises:
        InputError: it exists and is neither empty nor a checkpoint of this package.
    """
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and checkpoint_format(folder) is None:
        raise InputError(
            f"{folder}: exists and is not a checkpoint of s3prl_compress; choose another name"
        )
