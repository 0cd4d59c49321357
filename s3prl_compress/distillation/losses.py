"""Build the distillation loss that the settings name."""

from __future__ import annotations

import hashlib
import json

from ..encoder import EncoderShape, SpeechEncoder, fingerprint
from ..training.processes import is_main
from .calibration import sample_states
from .codes import Codebook, CodePrediction, code_state, fit_codes, load_codebook, save_codebook
from .config import DistillationConfig
from .grouping import linear_cka, similar_groups
from .layers import DistillationLoss, LayerDistillation, scaled_layers
from .relations import TemporalRelations

_GROUPING_FRAMES = 5000
"""Number of frames over which hidden states are compared, 100 s."""


def build_distillation_loss(
    teacher: SpeechEncoder, student: EncoderShape, config: DistillationConfig
) -> DistillationLoss:
    """Return the loss between `teacher` and a student, with projections at the identity.

    Methods of several stages pass the same loss to all of them: the student was trained through
    these projections, and resetting them would undo the alignment with the teacher.

    Raises:
        InputError: student and teacher do not match, or the audio is too short for the loss.
    """
    depth = teacher.shape.states - 1
    if config.loss == "relations":
        return TemporalRelations(teacher.shape, student)
    if config.loss == "codes":
        state = code_state(depth)
        return CodePrediction(teacher.shape, student, state, _codebook(teacher, state, config))
    if config.loss == "groups":
        states = sample_states(
            teacher,
            config.open(teacher.shape.minimum_samples),
            range(depth + 1),
            frames=_GROUPING_FRAMES,
            crop_seconds=config.crop_seconds,
            seed=config.seed,
        )
        return LayerDistillation(
            teacher.shape, student, similar_groups(linear_cka(states), config.groups)
        )
    return LayerDistillation(
        teacher.shape,
        student,
        config.layers or scaled_layers(depth),
        projected_input=config.compares_projection(),
    )


def _codebook(teacher: SpeechEncoder, state: int, config: DistillationConfig) -> Codebook:
    """Return the teacher's clusters: saved ones from the work folder, or new ones, saved there."""
    audio = config.open(teacher.shape.minimum_samples)
    facts = [audio.fingerprint(), fingerprint(teacher), state, config.codes, config.crop_seconds]
    identity = hashlib.sha256(json.dumps([*facts, config.seed]).encode()).hexdigest()
    # The name contains the fingerprint, so that codes of a run that may be resumed are kept.
    path = None if config.work is None else config.work / f"codes.{identity[:12]}.safetensors"
    codebook = None if path is None else load_codebook(path)
    if codebook is None:
        codebook = fit_codes(
            teacher,
            audio,
            state,
            config.codes,
            crop_seconds=config.crop_seconds,
            seed=config.seed,
        )
        if path is not None and is_main():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_codebook(path, codebook)
    return codebook
