"""Shards of what the one-pass engine stores of a corpus, each to be computed by its own process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from ..common.precision import full_precision
from ..encoder.adapter import UpstreamAdapter
from ..probing import features, frame_extraction
from ..probing.pooling import Clip
from ..probing.shards import Shard
from ..results.records import Padding
from ..tasks.base.corpus import Corpus
from ..tasks.base.engine import WORK_FOLDER
from ..tasks.base.task import Settings, Task
from ..tasks.base.transcripts import TranscribedCorpus
from ..tasks.registry import find_task
from .score import make_job, open_order


def why_not_split(task: Task, settings: Settings) -> str | None:
    """Return why the extraction of a task's features cannot be split; None if it can."""
    if task.features == "frames":
        return "its frames are streamed, not stored" if settings.frames == "streamed" else None
    return None if task.clips else "the task does not list its clips"


def store_shard(
    source: str | Path | UpstreamAdapter,
    task: str,
    shard: Shard,
    *,
    data: str | Path,
    output: str | Path,
    recipe: str | Path,
    device: str | None,
    padding: Padding | None,
    name: str,
    normalize: bool | None,
) -> bool:
    """Compute a shard of the features or frames that `score` takes for the same arguments.

    Returns False if it, or the whole, was there already, or nothing is to be stored.

    Raises:
        InputError: as `score`.
    """
    order = open_order(
        source, task, data, output, "onepass", recipe, 0, device, padding, name, None, normalize
    )
    job = make_job(order, "onepass", None, order.output / WORK_FOLDER / "shards")
    with full_precision():
        if order.task.features == "frames":
            return frame_extraction.store_shard(job, shard)
        return features.store_shard(job, _clips(order.task, order.corpus, job.settings), shard)


def missing_shards(
    stored: Iterable[Mapping[str, Any]],
    count: int,
    *,
    encoder: str,
    task: str,
    corpus: Corpus,
    settings: Settings,
) -> list[Shard]:
    """Return the shards that are still to be computed; none if the whole is stored.

    Args:
        stored: identities of what is stored, see `stored_identities`.
        count: number of shards.
        encoder: fingerprint of the upstream.
        task: name of the task.
        corpus: its corpus.
        settings: its settings, with the padding that takes effect.
    """
    every = [Shard(number, count) for number in range(1, count + 1)]
    keys = {"encoder": encoder, "corpus": corpus.fingerprint(), "padding": settings.padding}
    alike = [one for one in stored if keys.items() <= one.get("whole", one).items()]
    if not alike:
        return every  # without listing clips, which reads the headers of all recordings
    scored = find_task(task)
    if scored.features == "frames":
        assert isinstance(corpus, TranscribedCorpus)
        wanted = frame_extraction.identity_without_shape(encoder, corpus, settings.padding)
    else:
        clips = _clips(scored, corpus, settings)
        wanted = features.identity_without_shape(encoder, corpus, clips, settings.padding)
    if any(wanted.items() <= identity.items() for identity in alike):
        return []
    done = [
        Shard(*one["shard"])
        for one in alike
        if wanted.items() <= one.get("whole", {}).items()
        and one["conditions"]["seconds_per_batch"] == settings.seconds_per_batch
    ]
    return [shard for shard in every if shard not in done]


def _clips(task: Task, corpus: Corpus, settings: Settings) -> list[Clip]:
    clips: list[Clip] = resolve_name(task.clips)(task, corpus, settings)
    return clips
