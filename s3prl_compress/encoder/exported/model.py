"""Exported files as upstreams: scored and timed as they will run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...common.errors import InputError
from ...common.files import sha256
from ...results.records import RuntimeRecord, Upstream
from ..adapter import UpstreamAdapter
from ..checkpoint import HeadConfig
from ..cost import cost
from ..memory import check_memory
from ..model import check_waveforms
from ..shape import EncoderShape
from .config import TITLES, Runtime, read_metadata
from .graph import FRAMES, LOG_PROBS, fewest_samples, output_names
from .runtimes import (
    OPENVINO_MODEL,
    OPENVINO_WEIGHTS,
    OpenVINOSession,
    Outputs,
    Session,
    open_session,
    runtime_version,
)


class ExportedEncoder(UpstreamAdapter):
    """An encoder in an exported file, on the file's runtime and on the CPU.

    It is called like a `SpeechEncoder` with independent padding. The session has as many threads
    as torch when it is called.

    Args:
        path: an ONNX file, or a folder with an OpenVINO model.
        runtime: the runtime of the file.

    Raises:
        InputError: the runtime is missing, or the file is damaged or of another program.
    """

    shape: EncoderShape  # type: ignore[assignment]
    frames_known = True

    def __init__(self, path: Path, runtime: Runtime) -> None:
        session = open_session(path, runtime, torch.get_num_threads())
        self.config = read_metadata(session.metadata(), str(path))
        if self.config.runtime != runtime:
            raise InputError(f"{path}: its metadata are those of a file for {self.config.runtime}")
        # s3prl knows it by the entry that loads any file of this package.
        super().__init__("compressed", path, self.config.exported_shape)  # type: ignore[arg-type]
        self.path = path
        self.pad_short = False
        """Accept waveforms that are too short for one frame, and append zeros to them."""
        self._opened: tuple[int, Session] | None = None
        self._keep(session, torch.get_num_threads())
        self.eval()

    @property
    def name(self) -> str:
        """File name, or that of the folder."""
        return self.path.name

    @property
    def padding(self) -> Any:
        """Always "independent": the graph has no other."""
        return "independent"

    @padding.setter
    def padding(self, value: str) -> None:
        if value != "independent":
            raise InputError(
                f"{self.path}: padding {value}: an exported model has independent padding; leave "
                "padding out"
            )

    @property
    def head(self) -> HeadConfig | None:
        """Vocabulary and blank of the CTC head, if there is one."""
        return self.config.head

    @property
    def normalize(self) -> bool:
        """Whether the graph normalises waveforms."""
        return self.config.normalize

    def forward(self, waveforms: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Encode utterances as `SpeechEncoder.forward` does; see there for arguments and errors."""
        outputs, counts = self._run(waveforms)
        names = output_names(
            self.config.shape, last_only=self.config.states == "last", head=self.head is not None
        )
        states = [name for name in names if name not in (FRAMES, LOG_PROBS)]
        return tuple(self._tensor(outputs[name], counts) for name in states), counts

    def log_probs(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logarithms of the symbols' probabilities, and the numbers of frames.

        Returns:
            [batch, frames, symbols]; and [batch], on the CPU. Later frames are padding.

        Raises:
            InputError: there is no CTC head; or as for `forward`.
        """
        if self.head is None:
            raise InputError(f"{self.path}: has no CTC head")
        outputs, counts = self._run(waveforms)
        return self._tensor(outputs[LOG_PROBS], counts), counts

    def _run(self, waveforms: Sequence[Tensor]) -> tuple[Outputs, Tensor]:
        shape = self.config.shape
        lengths = check_waveforms(waveforms, 1 if self.pad_short else shape.minimum_samples)
        longest = max(*lengths, fewest_samples(shape))
        self._check_memory(len(lengths), longest)
        batch = np.zeros((len(lengths), longest), dtype=np.float32)
        for row, waveform in zip(batch, waveforms, strict=True):
            row[: len(waveform)] = waveform.detach().cpu().float().numpy()
        outputs = self._session().run(batch, np.array(lengths, dtype=np.int64))
        return outputs, torch.from_numpy(outputs[FRAMES])

    def _check_memory(self, batch: int, samples: int) -> None:
        """Check the memory of a pass; unlike PyTorch's kernels, the graph holds all attention."""
        shape = self.config.shape
        heads = max((len(layer.heads) for layer in shape.layers), default=0)
        attention = 4 * 3 * batch * heads * shape.frames(samples) ** 2
        check_memory(shape, batch, samples, torch.device("cpu"), further_bytes=attention)

    def _tensor(self, values: Any, counts: Tensor) -> Tensor:
        # A short batch was padded to more frames than any utterance has.
        return torch.from_numpy(values)[:, : int(counts.max())].to(self.anchor.device)

    def _session(self) -> Session:
        threads = torch.get_num_threads()
        if self._opened is None or self._opened[0] != threads:
            self._keep(open_session(self.path, self.config.runtime, threads), threads)
        assert self._opened is not None
        return self._opened[1]

    def _keep(self, session: Session, threads: int) -> None:
        if isinstance(session, OpenVINOSession):
            session.compile(self.config.dtype)
        self._opened = (threads, session)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the session out of copies; it is opened again on use."""
        return {**self.__dict__, "_opened": None}

    def files(self) -> tuple[Path, ...]:
        """Return the files that make up the model."""
        if self.config.runtime == "onnxruntime":
            return (self.path,)
        return (self.path / OPENVINO_MODEL, self.path / OPENVINO_WEIGHTS)

    def fingerprint(self) -> str:
        """Return a SHA-256 over the files' contents and the runtime's version."""
        runtime = self.config.runtime
        identity = {runtime: runtime_version(runtime), "files": [*map(sha256, self.files())]}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def describe(self, name: str) -> Upstream:
        """Return its entry in a result record; the size is that of the files."""
        config = self.config
        size = sum(file.stat().st_size for file in self.files())
        return Upstream(
            name=name,
            checkpoint_sha256=self.fingerprint(),
            source=str(self.path),
            base=config.provenance.base,
            random_weights=config.provenance.random_weights,
            normalize=config.normalize,
            methods=(*config.provenance.chain(), self.step()),
            cost=cost(config.shape).model_copy(update={"bytes": size}),
            runtime=RuntimeRecord(
                name=config.runtime,
                version=runtime_version(config.runtime),
                dtype=config.dtype,
                states=config.states,
                state_error=None if config.error is None else config.error.mean,
            ),
        )

    def step(self) -> str:
        """Return the export as the last step of the history: "onnxruntime(dtype=int8)"."""
        states = "" if self.config.states == "all" else ", states=last"
        return f"{self.config.runtime}(dtype={self.config.dtype}{states})"

    def note(self) -> str:
        """Return a note for readers of its scores, in one sentence."""
        config = self.config
        error = config.error
        measured = "" if error is None else f", with a state error of {error.mean:.2g}"
        version = runtime_version(config.runtime)
        return f"Computed by {TITLES[config.runtime]} {version} in {config.dtype}{measured}."


def exported_runtime(source: str | Path) -> Runtime | None:
    """Return the runtime of an exported file or folder; None for all other sources."""
    path = Path(source)
    if path.suffix == ".onnx" and os.path.isfile(path):
        return "onnxruntime"
    if os.path.isfile(path / OPENVINO_MODEL):
        return "openvino"
    if path.name == OPENVINO_MODEL and os.path.isfile(path):
        return "openvino"
    return None


def refuse_exported(source: str | Path) -> None:
    """Refuse exported models where weights are needed.

    Raises:
        InputError: `source` is one.
    """
    if exported_runtime(source) is not None:
        raise InputError(
            f"{source}: an exported model, which can be scored, timed and inspected only; give the "
            "checkpoint that it was made from"
        )


def load_exported(source: str | Path) -> ExportedEncoder:
    """Load an exported file or folder, or the `model.xml` in one, as an upstream.

    Raises:
        InputError: it is not an export of this package, it is damaged, or its runtime is missing.
    """
    runtime = exported_runtime(source)
    if runtime is None:
        raise InputError(f"{source}: neither an ONNX file nor a folder with {OPENVINO_MODEL}")
    path = Path(source)
    return ExportedEncoder(path.parent if path.name == OPENVINO_MODEL else path, runtime)
