"""Masked prediction of the teacher's clusters by a student that was derived from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..audio import AudioSet
from ..common.errors import InputError
from ..common.files import write_atomically
from ..encoder import EncoderShape, SpeechEncoder
from .calibration import sample_states
from .layers import DistillationLoss, check_fit, identity

FRAMES_PER_CODE = 200
TEMPERATURE = 0.1
"""Cosines are divided by it, as in HuBERT."""

Codebook = tuple[Tensor, Tensor]
"""Two means per cluster, of the hidden state that is clustered and of the last hidden state; both
[codes, hidden]."""


def code_state(depth: int) -> int:
    """Return the hidden state at the relative depth of state 9 of 12, as in HuBERT."""
    return round(9 * depth / 12)


class CodePrediction(DistillationLoss):
    """Cross entropy of predicting the clusters of masked frames.

    A frame's cluster is the mean nearest to a hidden state of the teacher, which sees all frames.
    The student's last hidden state is projected and compared with an embedding of every cluster
    by cosine. The projection starts at the identity, and each embedding at the average of the
    teacher's last hidden state in the cluster: a student that starts as a part of its teacher
    predicts far better with these than with random ones.

    Source: DiceHuBERT (Chi et al., Interspeech 2025, arXiv 2507.02911): HuBERT's own objective
    (arXiv 2106.07447, equations 1 and 3) over the teacher's clusters. The start is ours.

    Args:
        shape_teacher: of the teacher; as deep as the student.
        shape_student: of the student.
        state: the hidden state that was clustered.
        codebook: see `Codebook`.

    Raises:
        InputError: teacher and student differ in depth or frames.
    """

    hides_frames = True
    means: Tensor

    def __init__(
        self,
        shape_teacher: EncoderShape,
        shape_student: EncoderShape,
        state: int,
        codebook: Codebook,
    ) -> None:
        super().__init__()
        check_fit(shape_teacher, shape_student)
        means, last = codebook
        self.state = state
        self.register_buffer("means", means.clone())
        self.projection = identity(shape_student.hidden, shape_teacher.hidden)
        with torch.no_grad():  # a constant in all frames would make all cosines alike
            self.projection.bias.copy_(-last.mean(0))
        self.embeddings = nn.Parameter(last - last.mean(0))

    def forward(
        self,
        student_states: Sequence[Tensor],
        teacher_states: Sequence[Tensor],
        frame_counts: Tensor,
        masks: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return `loss` and `accuracy` on masked frames; see `DistillationLoss`."""
        assert masks is not None
        hidden = student_states[-1][masks]
        with torch.autocast(hidden.device.type, enabled=False):  # cosines in full precision
            wanted = torch.cdist(teacher_states[self.state][masks].float(), self.means).argmin(-1)
            projected = self.projection(hidden.float())
            cosines = F.normalize(projected, dim=-1) @ F.normalize(self.embeddings, dim=-1).t()
            # Summed, not averaged: a process without masked frames then has loss 0, not NaN.
            loss = F.cross_entropy(cosines / TEMPERATURE, wanted, reduction="sum")
            correct = (cosines.argmax(-1) == wanted).float().sum()
        count = max(len(wanted), 1)
        return {"loss": loss / count, "accuracy": correct / count}


def fit_codes(
    teacher: SpeechEncoder,
    audio: AudioSet,
    state: int,
    codes: int,
    *,
    crop_seconds: float,
    seed: int,
) -> Codebook:
    """Cluster a hidden state of some of the audio by mini-batch k-means.

    Raises:
        InputError: there are fewer frames than clusters.
    """
    hidden, last = sample_states(
        teacher,
        audio,
        (state, teacher.shape.states - 1),
        frames=FRAMES_PER_CODE * codes,
        crop_seconds=crop_seconds,
        seed=seed,
    )
    if len(hidden) < codes:
        raise InputError(
            f"{audio.root}: {len(hidden)} frames of audio are too few for {codes} codes; give "
            "more audio or ask for fewer"
        )
    from sklearn.cluster import MiniBatchKMeans

    kmeans = MiniBatchKMeans(
        codes, batch_size=10_000, n_init=5, reassignment_ratio=0.0, random_state=seed
    ).fit(hidden.numpy())
    members = F.one_hot(torch.from_numpy(kmeans.labels_).long(), codes).float()
    filled = members.sum(0) > 0
    members = members[:, filled]
    means = torch.from_numpy(kmeans.cluster_centers_).float()[filled]
    return means, (members.t() @ last) / members.sum(0)[:, None]


def load_codebook(path: Path) -> Codebook | None:
    """Read a codebook; return None if there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it") from error
    return tensors["means"], tensors["last"]


def save_codebook(path: Path, codebook: Codebook) -> None:
    """Write a codebook atomically. It is saved because fitting again could differ by rounding."""
    means, last = codebook
    write_atomically(path, save({"means": means, "last": last}))
