"""Predict sizes before anything is made: upstreams, features, checkpoints of heads."""

from __future__ import annotations

from dataclasses import replace

from ..common.errors import InputError
from ..encoder import is_checkpoint, named_shape, read_config
from ..evaluation import Settings
from ..methods import available
from ..tasks.base.facts import CorpusFacts
from ..tasks.base.task import Task
from .baselines import baseline_info
from .models import UpstreamSize, kind_of_source, size_of_shape
from .plan import SuitePlan

_ASSUMED = "hubert_base"
"""Shape assumed for an upstream that would have to be downloaded, or built by s3prl, to measure."""
FRAMES_PER_SECOND = 50
_CHARACTERS = 32
"""Approximate size of the speech recogniser's output layer."""


def upstream_size(plan: SuitePlan, name: str) -> UpstreamSize:
    """Return an upstream's size; one that does not exist yet has the size of its base."""
    entry = next(entry for entry in plan.suite.upstreams if entry.name == name)
    if entry.random is not None:
        return size_of_shape(named_shape(entry.random.shape))
    if entry.base is not None:
        made = plan.upstreams / name
        info = available().get(str(entry.method))
        learned = info is not None and "work" in info.config.model_fields
        size = _size_of(str(made)) if made.is_dir() else None
        return replace(size or upstream_size(plan, entry.base), learned=learned)
    if entry.source is None:
        facts = baseline_info(entry, plan.upstreams)
        if facts is None:
            return size_of_shape(named_shape(_ASSUMED))
        return UpstreamSize(facts.states, facts.hidden, facts.cost.macs_32, facts.cost.bytes)
    return _size_of(entry.source) or size_of_shape(named_shape(_ASSUMED))


def feature_bytes(
    task: Task, settings: Settings, size: UpstreamSize, corpus: CorpusFacts
) -> int | None:
    """Return the bytes of the features that the one-pass engine stores for a corpus.

    These are, for each utterance and state, the mean over frames in float32, or all frames in
    float16. If long training clips are cropped, all of them are assumed to be long. None if the
    sizes of the corpus are unknown.
    """
    if task.features == "frames":
        if corpus.all_seconds is None:
            return None
        frames = corpus.all_seconds * FRAMES_PER_SECOND
        return round(frames * size.states * size.hidden * 2)
    if corpus.clips is None:
        return None
    clips = corpus.clips + corpus.background * settings.crops_per_file
    if task.crops_training:
        clips += corpus.train * (settings.crops_per_clip - 1)
    return clips * size.states * size.hidden * 4


def head_bytes(settings: Settings, size: UpstreamSize, corpus: CorpusFacts) -> int:
    """Return the bytes that s3prl's runner stores: three checkpoints of a head with Adam's state.

    Adam's two moments are as large as the head each.
    """
    if settings.recognition is not None:
        head = settings.recognition
        weights = size.hidden * head.project_dim + 2 * head.rnn_dim * _CHARACTERS
        for layer in range(head.rnn_layers):
            inputs = head.project_dim if layer == 0 else 2 * head.rnn_dim
            weights += 2 * 4 * head.rnn_dim * (inputs + head.rnn_dim)
    else:
        weights = settings.projector_dim * (size.hidden + corpus.classes)
    return 3 * 3 * 4 * weights * len(settings.learning_rates) * corpus.folds


def checkpoint_bytes(size: UpstreamSize) -> int:
    """Return the bytes that the checkpoint of an upstream takes."""
    return size.bytes


def _size_of(source: str) -> UpstreamSize | None:
    """Return the size of a model that exists; None if it cannot be read."""
    try:
        if is_checkpoint(source):
            return size_of_shape(read_config(source).shape)
        kind = kind_of_source(source)
        return kind.size(kind.load(source, None))
    except InputError:
        return None
