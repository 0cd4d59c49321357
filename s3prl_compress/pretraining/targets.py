"""HuBERT's targets: one cluster number per frame, by k-means over MFCC or hidden states.

Frames are those of the encoder's convolutions: frame n of a file begins at sample 320 n and covers
400 samples. MFCC are computed every 10 ms over windows of 400 samples (25 ms) that lie inside the
file, as in Kaldi. Frame n of the encoder therefore has the window of MFCC frame 2 n, which is its
target, as in fairseq.

Source: HuBERT (arXiv 2106.07447), sections II.B and IV.B.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLING_RATE, AudioSet
from ..common.errors import InputError
from ..common.files import write_atomically
from ..encoder import EncoderShape, SpeechEncoder

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int16]

MFCC_STRIDE = 160
MFCC_WINDOW = 400


class _Clusters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    clusters: int = Field(ge=2, le=32767)
    """Number of clusters."""
    fit_frames: int = Field(default=500_000, ge=100)
    """Number of frames to fit k-means on, drawn evenly from all files (all frames if fewer)."""
    batch_size: int = Field(default=10_000, ge=100)
    """Number of frames in one step of mini-batch k-means."""
    restarts: int = Field(default=5, ge=1)
    """Number of initialisations, of which the best is used."""


class MFCCTargets(_Clusters):
    """Targets of the first iteration: 13 MFCC with first and second differences."""

    kind: Literal["mfcc"] = "mfcc"
    clusters: int = Field(default=100, ge=2, le=32767)


class HiddenTargets(_Clusters):
    """Targets of later iterations: a hidden state of the previous model."""

    kind: Literal["hidden"] = "hidden"
    clusters: int = Field(default=500, ge=2, le=32767)
    layer: int = Field(ge=0)
    """Number of the hidden state: 0 is the input of the first layer, L the output of the last."""


TargetSettings = Annotated[MFCCTargets | HiddenTargets, Field(discriminator="kind")]

FrameFeatures = Callable[[Tensor], Floats]
"""From the waveform of a file to features [frames, width], one row per frame of the encoder."""


@dataclass(frozen=True)
class Targets:
    """The cluster of every frame of every file."""

    labels: tuple[Labels, ...]
    """The cluster of every frame, [frames] for each file of the audio set."""
    clusters: int

    def subset(self, indices: Sequence[int]) -> Targets:
        """Return the targets of these files only."""
        return Targets(tuple(self.labels[index] for index in indices), self.clusters)

    def crop(self, file: int, start: int, frames: int, stride: int) -> Tensor:
        """Return the targets [frames] of a crop that starts at sample `start`, as int64."""
        first = start // stride
        return torch.from_numpy(self.labels[file][first : first + frames].astype(np.int64))


def mfcc(waveform: Tensor, shape: EncoderShape) -> Floats:
    """Return MFCC with first and second differences, [frames, 39], at the encoder's frames.

    torchaudio's reimplementation of Kaldi's: 13 coefficients of which the first is c0 (no
    energy), 23 mel bands, 25 ms windows; as HuBERT's `dump_mfcc_feature.py`.
    """
    import torchaudio.functional
    from torchaudio.compliance.kaldi import mfcc as kaldi_mfcc

    static = kaldi_mfcc(waveform[None], sample_frequency=float(SAMPLING_RATE), use_energy=False).t()
    first = torchaudio.functional.compute_deltas(static)
    second = torchaudio.functional.compute_deltas(first)
    features = torch.cat([static, first, second]).t()
    every = shape.frame_stride // MFCC_STRIDE
    return features[::every][: shape.frames(len(waveform))].contiguous().numpy()


def hidden_states(encoder: SpeechEncoder, layer: int) -> FrameFeatures:
    """Return a function from a waveform to one hidden state of `encoder`, [frames, hidden].

    Raises:
        InputError: the encoder has no such layer.
    """
    last = encoder.shape.states - 1
    if layer > last:
        raise InputError(f"targets: no hidden state {layer}; the model has 0 to {last}")

    @torch.no_grad()
    def features(waveform: Tensor) -> Floats:
        states, _ = encoder([waveform])
        return states[layer][0].float().cpu().numpy()

    return features


def frame_features(
    settings: MFCCTargets | HiddenTargets, shape: EncoderShape, previous: SpeechEncoder | None
) -> FrameFeatures:
    """Return the function that computes the features to cluster.

    Raises:
        InputError: hidden states are requested without a previous model, the layer does not
            exist, or the frames of MFCC and model do not coincide.
    """
    if isinstance(settings, HiddenTargets):
        if previous is None:
            raise InputError("targets: the first iteration has no previous model; use kind mfcc")
        return hidden_states(previous, settings.layer)
    if shape.frame_stride % MFCC_STRIDE or shape.minimum_samples < MFCC_WINDOW:
        raise InputError(
            f"targets: MFCC come every {MFCC_STRIDE} samples over {MFCC_WINDOW}, frames of this "
            f"model every {shape.frame_stride} over {shape.minimum_samples}; they do not coincide"
        )
    return lambda waveform: mfcc(waveform, shape)


def make_targets(
    audio: AudioSet,
    features: FrameFeatures,
    settings: MFCCTargets | HiddenTargets,
    seed: int,
) -> tuple[Targets, Floats]:
    """Cluster the frames of all files; return their clusters, and the means [clusters, width].

    Mini-batch k-means is fitted on a sample of frames; then every frame is assigned to the nearest
    mean. Features are computed twice rather than stored, because hidden states take 0.2 GB per
    hour of audio.

    Raises:
        InputError: there are fewer frames than clusters.
    """
    sample = _sample(audio, features, settings.fit_frames, seed)
    if len(sample) < settings.clusters:
        raise InputError(
            f"{audio.root}: {len(sample)} frames of audio are too few for {settings.clusters} "
            "clusters; give more audio or ask for fewer"
        )
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(
        settings.clusters,
        batch_size=settings.batch_size,
        max_iter=100,
        max_no_improvement=100,
        n_init=settings.restarts,
        reassignment_ratio=0.0,
        random_state=seed,
    ).fit(sample)
    labels = tuple(
        kmeans.predict(frames).astype(np.int16) for frames in _each(audio, features, "targets")
    )
    return Targets(labels, settings.clusters), kmeans.cluster_centers_.astype(np.float32)


def _sample(audio: AudioSet, features: FrameFeatures, wanted: int, seed: int) -> Floats:
    """Return about `wanted` frames, the same fraction of every file."""
    random = np.random.default_rng(seed)
    total = audio.seconds * SAMPLING_RATE / 320
    share = min(1.0, wanted / total)
    sampled = []
    for frames in _each(audio, features, "sampling features"):
        count = min(len(frames), int(share * len(frames) + random.random()))
        sampled.append(frames[np.sort(random.choice(len(frames), size=count, replace=False))])
    return np.concatenate(sampled)


def _each(audio: AudioSet, features: FrameFeatures, what: str) -> Iterator[Floats]:
    for index in tqdm(range(len(audio.files)), desc=what, unit="file"):
        yield features(audio.read(index))


def save_targets(path: Path, targets: Targets, means: Floats, identity: str) -> None:
    """Write targets and cluster means atomically as one safetensors file.

    Args:
        path: the file.
        targets: clusters of all frames.
        means: means of the clusters, [clusters, width].
        identity: fingerprint of settings and audio, which `load_targets` compares.
    """
    tensors: dict[str, npt.NDArray[Any]] = {
        "labels": np.concatenate(targets.labels),
        "counts": np.array([len(labels) for labels in targets.labels], dtype=np.int64),
        "means": means,
    }
    facts = {"identity": identity, "clusters": json.dumps(targets.clusters)}
    write_atomically(path, save(tensors, metadata=facts))


def load_targets(path: Path, identity: str) -> Targets | None:
    """Read targets; return None if there is no file, or one with another `identity`.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            facts = file.metadata() or {}
            if facts.get("identity") != identity:
                return None
            labels, counts = file.get_tensor("labels"), file.get_tensor("counts")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it") from error
    pieces = np.split(labels, np.cumsum(counts)[:-1])
    return Targets(tuple(pieces), int(facts["clusters"]))
