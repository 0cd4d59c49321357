"""The values of a CTC head for every frame of a test set, computed once and cached on disk."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ...audio import SAMPLING_RATE, AudioSet
from ...common.errors import InputError
from ...common.files import file_atomically
from ...encoder import CTCHead, SpeechEncoder, fingerprint, inference_copy
from ...encoder.adapter import UpstreamAdapter
from ...encoder.checkpoint import HeadConfig
from ...encoder.exported import ExportedEncoder
from ...probing.pooling import batches_by_length, ready
from ..base.engine import ENGINE_VERSIONS
from ..base.own_head import UnsuitableModelError

CTCModel = SpeechEncoder | ExportedEncoder
"""Models that can have a CTC head."""

EMISSIONS_FOLDER = "emissions"
"""Folder of the cached values of CTC heads, below the folder of scratch files."""
EMISSIONS_VERSION = 2
"""Part of the key: raised whenever files of the same key would differ in form."""
_SECONDS_PER_BATCH = 16.0
"""Audio in one forward pass, padding included. It changes results by rounding only."""


@dataclass(frozen=True)
class Emissions:
    """The values of a CTC head's symbols in every frame of some utterances."""

    logits: Tensor
    """[frames of all utterances, symbols], float32, one utterance after the other."""
    frames: tuple[int, ...]
    """Number of frames of each utterance; 0 if it is too short for the encoder."""

    def utterances(self) -> tuple[Tensor, ...]:
        """Return the logits of each utterance, [frames, symbols]."""
        return self.logits.split(self.frames)

    def log_probabilities(self) -> tuple[Tensor, ...]:
        """Return natural logarithms of the symbols' probabilities, [frames, symbols] each."""
        return self.logits.log_softmax(dim=-1).split(self.frames)


def ctc_head(encoder: SpeechEncoder | UpstreamAdapter, name: str) -> CTCHead | HeadConfig:
    """Return the vocabulary and blank of an encoder's CTC head.

    Raises:
        UnsuitableModelError: it has none; the message calls it `name`.
    """
    if isinstance(encoder, UpstreamAdapter) and not isinstance(encoder, ExportedEncoder):
        raise UnsuitableModelError(
            f"{encoder.upstream}: an upstream of s3prl's own has no CTC head"
        )
    if encoder.head is None:
        raise UnsuitableModelError(
            f"{name}: has no CTC head; fine-tune it first: s3prl-compress compress {name} "
            "--method ctc --audio TRANSCRIBED --output DIR"
        )
    return encoder.head


def cached_emissions(encoder: CTCModel, audio: AudioSet, device: str, folder: Path) -> Emissions:
    """Return the emissions of all utterances, from `folder` if they were computed before.

    They are known by the encoder's fingerprint and the recordings' names and contents, so that
    decoding them again, with another language model, needs no forward pass. A file takes 4 bytes
    for each symbol of each frame: 23 MB per hour of speech with 32 symbols. If its values are not
    those of its checksum, they are computed again, after one line that says so.

    Raises:
        InputError: as for `compute_emissions`.
    """
    hashed = audio.hashed()
    identity = json.dumps(
        {
            "version": ENGINE_VERSIONS["greedy"],
            "file_version": EMISSIONS_VERSION,
            "encoder": fingerprint(encoder),
            "audio": audio.fingerprint(hashed.hashes),
        },
        sort_keys=True,
    )
    path = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.safetensors"
    found = _read(path, identity)
    if found is not None:
        return found
    emissions = compute_emissions(encoder, audio, device)
    hashed.check_unchanged()
    tensors = {"logits": emissions.logits, "frames": torch.tensor(emissions.frames)}
    with file_atomically(path) as temporary:
        save_file(tensors, temporary, metadata=_facts(identity, **tensors))
    return emissions


def compute_emissions(encoder: CTCModel, audio: AudioSet, device: str = "cpu") -> Emissions:
    """Run the encoder and its CTC head on all utterances.

    Utterances of similar lengths are batched, with independent padding: no value depends on what
    its utterance is batched with.

    Raises:
        InputError: there is no CTC head, a recording cannot be read, or the weights give values
            that are not finite.
    """
    dense = inference_copy(encoder, device)
    head = ctc_head(dense, "the encoder")
    symbols = len(head.vocabulary)
    found = [torch.empty(0, symbols) for _ in audio.files]
    shortest = encoder.shape.minimum_samples
    long_enough = [n for n, length in enumerate(audio.lengths) if length >= shortest]
    limit = int(_SECONDS_PER_BATCH * SAMPLING_RATE)
    batches = batches_by_length([audio.lengths[number] for number in long_enough], limit)
    progress = tqdm(total=len(long_enough), desc="recognition", unit="utterance", file=sys.stderr)
    with ready(dense, "independent", device), progress, torch.inference_mode():
        for batch in batches:
            numbers = [long_enough[place] for place in batch]
            waveforms = [audio.read(number).to(device) for number in numbers]
            scores, frames = _symbol_scores(dense, waveforms)
            for number, values, count in zip(
                numbers, scores.float().cpu(), frames.tolist(), strict=True
            ):
                if not values[:count].isfinite().all():
                    raise InputError(
                        f"{audio.root / audio.files[number]}: the CTC head's values for it are not "
                        "finite; the weights are of no use"
                    )
                found[number] = values[:count].clone()
            progress.update(len(numbers))
    return Emissions(torch.cat(found), tuple(map(len, found)))


def _symbol_scores(encoder: CTCModel, waveforms: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return scores of the symbols that rank them, [batch, frames, symbols], and the frames."""
    if isinstance(encoder, ExportedEncoder):
        return encoder.log_probs(waveforms)
    states, frames = encoder(waveforms)
    assert encoder.head is not None
    return encoder.head(states[-1]), frames


def _read(path: Path, identity: str) -> Emissions | None:
    """Return cached emissions; None if there are none, or they are damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            logits, frames = file.get_tensor("logits"), file.get_tensor("frames")
            if file.metadata() == _facts(identity, logits, frames):
                return Emissions(logits, tuple(frames.tolist()))
    except (OSError, SafetensorError):
        pass
    print(f"{path}: damaged (wrong checksum); computed again", file=sys.stderr)
    return None


def _facts(identity: str, logits: Tensor, frames: Tensor) -> dict[str, str]:
    """Return the metadata of a file of emissions."""
    digest = hashlib.sha256(logits.numpy().ravel().data)
    digest.update(frames.numpy().data)
    return {"identity": identity, "sha256": digest.hexdigest()}
