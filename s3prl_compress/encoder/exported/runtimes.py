"""Running exported files: a session per file on ONNX Runtime or OpenVINO, on the CPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import InputError
from ...common.extras import Extra, require_extra
from .config import KEY, TITLES, ExportedType, Runtime

if TYPE_CHECKING:
    import openvino

Outputs = dict[str, NDArray[Any]]

EXTRAS: dict[Runtime, Extra] = {"onnxruntime": "onnx", "openvino": "openvino"}
"""The extra that installs each runtime."""

OPENVINO_MODEL = "model.xml"
OPENVINO_WEIGHTS = "model.bin"


class Session(ABC):
    """A loaded model with a fixed number of threads."""

    @abstractmethod
    def metadata(self) -> str | None:
        """Return the text under `KEY` in the file's metadata; None if there is none."""

    @abstractmethod
    def run(self, waveforms: NDArray[np.float32], lengths: NDArray[np.int64]) -> Outputs:
        """Return all outputs by name for waveforms [batch, samples] and lengths [batch]."""


class OnnxSession(Session):
    """An ONNX file on ONNX Runtime."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        self._path = path
        # Threads that wait for the next call by spinning would slow down whatever runs in between.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class
            raise _cannot(path, "load", "onnxruntime", error) from error

    def metadata(self) -> str | None:
        """See `Session.metadata`."""
        try:
            text: str | None = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        except UnicodeDecodeError as error:
            raise _cannot(self._path, "load", "onnxruntime", error) from error
        return text

    def run(self, waveforms: NDArray[np.float32], lengths: NDArray[np.int64]) -> Outputs:
        """See `Session.run`."""
        names = [output.name for output in self._session.get_outputs()]
        try:
            values = self._session.run(names, {"waveforms": waveforms, "lengths": lengths})
        except Exception as error:  # as above
            raise _cannot(self._path, "run", "onnxruntime", error) from error
        return dict(zip(names, values, strict=True))


@cache
def openvino_core() -> openvino.Core:
    """Return the process's only `openvino.Core`, which lives as long as the process.

    Each one gives its thread a stack for signal handlers, and frees it. Where two of them end in
    the order in which they began (OpenVINO 2026.4), the thread is left with freed memory, and the
    next signal that is handled, such as the end of a child process, kills the process.
    """
    import openvino

    return openvino.Core()


def has_bfloat16() -> bool:
    """Return whether OpenVINO can compute in bfloat16 on this CPU."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVINOSession(Session):
    """A folder with an OpenVINO model. It is compiled on first use, for the type that it asks for.

    Without being told, OpenVINO computes in bfloat16 wherever the CPU can.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder, self._threads = folder, threads
        self._core = openvino_core()
        self._request: Any = None
        try:
            self._model = self._core.read_model(folder / OPENVINO_MODEL)
        except Exception as error:  # a bare RuntimeError, or an exception of its own
            raise _cannot(folder, "load", "openvino", error) from error

    def metadata(self) -> str | None:
        """See `Session.metadata`."""
        if not self._model.has_rt_info([KEY]):
            return None
        return str(self._model.get_rt_info([KEY]).astype(str))

    def compile(self, dtype: ExportedType) -> None:
        """Prepare the model for arithmetic in a number format.

        Raises:
            InputError: the CPU has no bfloat16 arithmetic; OpenVINO would use float32 silently.
        """
        reduced = dtype.endswith("bfloat16")
        if reduced and not has_bfloat16():
            raise InputError(
                f"{self._folder}: computes in bfloat16, for which this CPU has no instructions; "
                "export the model as float32 or int8"
            )
        settings = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "bf16" if reduced else "f32",
        }
        compiled = self._core.compile_model(self._model, "CPU", settings)
        self._request = compiled.create_infer_request()

    def run(self, waveforms: NDArray[np.float32], lengths: NDArray[np.int64]) -> Outputs:
        """See `Session.run`."""
        values = self._request.infer({"waveforms": waveforms, "lengths": lengths})
        return {port.get_any_name(): value for port, value in values.items()}


SESSIONS: dict[Runtime, Callable[[Path, int], Session]] = {
    "onnxruntime": OnnxSession,
    "openvino": OpenVINOSession,
}


def open_session(path: Path, runtime: Runtime, threads: int) -> Session:
    """Load a file or folder on its runtime.

    Raises:
        InputError: the runtime is not installed, or cannot load the file.
    """
    require_extra(EXTRAS[runtime], f"{path}: {TITLES[runtime]}")
    return SESSIONS[runtime](path, threads)


def runtime_version(runtime: Runtime) -> str:
    """Return the installed version of a runtime."""
    return metadata.version(runtime)


def _cannot(path: Path, act: str, runtime: Runtime, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{path}: {TITLES[runtime]} cannot {act} it ({reason})")
