"""Adapter for s3prl's own upstreams: baselines that are scored and timed beside our encoders.

Building one imports `s3prl.hub`, which takes seconds and changes the process. So it belongs in a
process that does nothing else, as a suite's cells are.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ..common.errors import InputError
from ..common.files import sha256
from ..encoder.adapter import UpstreamAdapter, UpstreamShape
from ..encoder.cost import LEADERBOARD_SAMPLES, count_macs
from ..results.records import Cost, Upstream

_SAMPLING_RATE = 16_000
_SHORTEST = 400
"""Samples that one frame of 25 ms needs, in every upstream of s3prl that we know."""


class UpstreamInfo(BaseModel):
    """Facts that are measured once per upstream."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    states: int
    hidden: int
    frame_stride: int
    cost: Cost


class S3PRLUpstreamAdapter(UpstreamAdapter):
    """An upstream by its name in s3prl, built when it first runs.

    Args:
        upstream: its name in `s3prl.hub`.
        checkpoint: a file, for those that need one ("hubert_local").
        facts: measured before. Without them it is built at once, and run over all of the
            leaderboard's utterances.

    Raises:
        InputError: s3prl has no such upstream, or cannot build it.
    """

    def __init__(
        self,
        upstream: str,
        checkpoint: str | Path | None = None,
        facts: UpstreamInfo | None = None,
    ) -> None:
        module = None
        if facts is None:
            module = _build(upstream, checkpoint)
            facts = _find_out(module, upstream)
        super().__init__(
            upstream,
            None if checkpoint is None else Path(checkpoint),
            UpstreamShape(
                states=facts.states,
                hidden=facts.hidden,
                frame_stride=facts.frame_stride,
                minimum_samples=_SHORTEST,
            ),
        )
        self.facts = facts
        self.module = module
        self.eval()

    def train(self, mode: bool = True) -> S3PRLUpstreamAdapter:
        """Stay in eval mode: frozen features take no dropout."""
        super().train(False)
        return self

    def forward(self, waveforms: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Encode utterances, all in one batch of s3prl's; see `SpeechEncoder.forward`."""
        if self.module is None:
            self.module = _build(self.upstream, self.checkpoint).to(self.anchor)
        states = _states(self.module, [waveform.to(self.anchor) for waveform in waveforms])
        frames = states[0].shape[1]
        counts = [min(frames, round(len(w) / self.shape.frame_stride)) for w in waveforms]
        return tuple(states), torch.tensor(counts)

    def fingerprint(self) -> str:
        """Return a sha256 over name, checkpoint file and s3prl's version."""
        return foreign_fingerprint(self.upstream, self.checkpoint)

    def describe(self, name: str) -> Upstream:
        """Describe it for a record; its training data are unknown."""
        source = f"s3prl:{self.upstream}"
        file = self.checkpoint
        return Upstream(
            name=name,
            checkpoint_sha256=self.fingerprint(),
            source=source if file is None else f"{source} {file}",
            base=source if file is None else f"{source} {file.name}",
            random_weights=False,
            cost=self.facts.cost,
        )


def foreign_fingerprint(upstream: str, checkpoint: str | Path | None) -> str:
    """Return the fingerprint of one of s3prl's upstreams, without building it."""
    identity = {"s3prl": metadata.version("s3prl"), "upstream": upstream}
    if checkpoint is not None:
        identity["checkpoint"] = _sha256(Path(checkpoint))
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _build(upstream: str, checkpoint: str | Path | None) -> Any:
    from .compat import apply_patches

    if checkpoint is not None and not Path(checkpoint).is_file():
        raise InputError(f"{checkpoint}: no such file; s3prl's {upstream} was to read it")
    apply_patches()
    # What s3prl prints must not get between a command's figures.
    with contextlib.redirect_stdout(sys.stderr):
        hub = importlib.import_module("s3prl.hub")
        entry = getattr(hub, upstream, None)
        if not callable(entry):
            raise InputError(f"s3prl has no upstream {upstream}; S3PRLUpstream lists them")
        given = {} if checkpoint is None else {"ckpt": str(checkpoint)}
        try:
            return entry(**given).eval()
        except Exception as error:  # each upstream fails in its own way
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            needs = "" if checkpoint is not None else "; does it need a checkpoint?"
            raise InputError(
                f"s3prl's {upstream} cannot be built: {type(error).__name__}: {reason}{needs}"
            ) from error


def _find_out(module: Any, upstream: str) -> UpstreamInfo:
    """Run an upstream to learn its sizes and its cost.

    The counter knows matrix products and convolutions; Fourier transforms count for nothing.
    """
    states = _states(module, [torch.zeros(_SAMPLING_RATE)])
    sizes = sorted({tuple(state.shape[1:]) for state in states})
    if len(sizes) > 1:
        raise InputError(
            f"s3prl's {upstream}: its hidden states are of different sizes, {sizes[0]} and "
            f"{sizes[-1]}; a weighted sum of them is not possible"
        )
    weights = list(module.parameters())
    count = sum(parameter.numel() for parameter in weights)
    return UpstreamInfo(
        states=len(states),
        hidden=states[0].shape[-1],
        frame_stride=int(module.get_downsample_rates("hidden_states")),
        cost=Cost(
            parameters=count,
            nonzero_parameters=count,
            macs_32=count_macs(lambda wave: _states(module, [wave]), LEADERBOARD_SAMPLES),
            bytes=sum(parameter.numel() * parameter.element_size() for parameter in weights),
        ),
    )


def _states(module: Any, waveforms: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return list(module(waveforms)["hidden_states"])


def _sha256(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
