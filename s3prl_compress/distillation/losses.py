"""Which loss a student learns by, made ready for a teacher and its audio."""

from __future__ import annotations

import hashlib
import json

from ..encoder import EncoderShape, SpeechEncoder, fingerprint
from ..training.processes import is_main
from .calibration import sample_states
from .codes import Codebook, CodePrediction, code_state, fit_codes, keep_codes, kept_codes
from .config import DistillationConfig
from .grouping import linear_cka, similar_groups
from .layers import DistillationLoss, LayerDistillation, scaled_layers
from .relations import TemporalRelations

_GROUPING_FRAMES = 5000
"""Frames over which hidden states are compared: 100 s."""


def build_distillation_loss(
    teacher: SpeechEncoder, student: EncoderShape, config: DistillationConfig
) -> DistillationLoss:
    """Return the loss of a student of this shape, its projections at the identity.

    Methods of several stages hand one on from each to the next: the student has learned to be
    seen through these projections, and would be torn from the teacher without them.

    Raises:
        InputError: the student does not fit the teacher, or the audio the loss.
    """
    depth = len(teacher.shape.layers)
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
    """Return the teacher's clusters: those in the work folder, or new ones, kept there."""
    audio = config.open(teacher.shape.minimum_samples)
    facts = [audio.fingerprint(), fingerprint(teacher), state, config.codes, config.crop_seconds]
    identity = hashlib.sha256(json.dumps([*facts, config.seed]).encode()).hexdigest()
    # A name of its own: the codes of another run, which may yet be gone on with, stay.
    path = None if config.work is None else config.work / f"codes.{identity[:12]}.safetensors"
    found = None if path is None else kept_codes(path)
    if found is None:
        found = fit_codes(
            teacher,
            audio,
            state,
            config.codes,
            crop_seconds=config.crop_seconds,
            seed=config.seed,
        )
        if path is not None and is_main():
            path.parent.mkdir(parents=True, exist_ok=True)
            keep_codes(path, found)
    return found
