"""The one-pass engine of recognition: CTC heads of all rates and seeds on one set of frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..encoder import SpeechEncoder
from ..encoder.exported import ExportedEncoder
from ..tasks.base.engine import EngineResult, Job
from ..tasks.base.transcripts import TranscribedCorpus
from .frames import Frames, StreamedFrames, load_frames
from .hidden_states import layer_weights
from .recogniser_training import RecognitionSpec, Training, recognise
from .training import padding_notes

Notes = Callable[[int], Sequence[str]]
"""From the number of training utterances that are never used to what a task's records say, a
sentence each."""


def recognition_results(
    jobs: Sequence[Job], recognition: RecognitionSpec, notes: Notes
) -> Iterator[EngineResult]:
    """Score the jobs' encoder on a task of recognition, a seed after the other; see `RunSeeds`."""
    started = time.perf_counter()
    corpus = jobs[0].corpus
    encoder = jobs[0].encoder
    assert isinstance(corpus, TranscribedCorpus)
    assert isinstance(encoder, SpeechEncoder | ExportedEncoder)  # `score` turns others away
    frames = load_frames(
        encoder,
        corpus,
        padding=jobs[0].padding,
        cache=jobs[0].features_folder,
        device=jobs[0].device,
        seconds_per_batch=jobs[0].settings.seconds_per_batch,
        how=jobs[0].settings.frames,
    )
    frames = replace(frames, first_state=jobs[0].settings.first_state)
    extracted = time.perf_counter() - started
    if isinstance(frames, StreamedFrames) or frames.reused:
        extracted = 0.0
    with frames.ready():
        for job in jobs:
            yield _train_and_test(job, frames, recognition, notes, extracted / len(jobs))


def _train_and_test(
    job: Job, frames: Frames, recognition: RecognitionSpec, notes: Notes, extraction_seconds: float
) -> EngineResult:
    started = time.perf_counter()
    training = Training(job, frames, recognition)
    rates = training.sweep()
    trained = time.perf_counter()
    chosen = min(rates, key=lambda rate: rate.dev_score)  # the first one where two tie
    head = training.best_head(rates.index(chosen), chosen)
    (texts,) = recognise([head], frames, frames.plan.rows["test"])
    training.forget()
    return EngineResult(
        predictions=[
            (job.corpus.utterance_name(item), item.label, text)
            for item, text in zip(job.corpus.items("test"), texts, strict=True)
        ],
        rates=rates,
        learning_rate=chosen.learning_rate,
        dev_score=chosen.dev_score,
        layer_weights=layer_weights([head.layer_weights], job.settings.first_state),
        approximate=job.padding != "independent",
        notes=(
            "Frames of all layers are computed in every step, and rounded to float16."
            if frames.streamed
            else "Frames of all layers are stored in float16.",
            *notes(training.left_out),
            *_device_notes(job.device),
            *padding_notes(job),
        ),
        seconds={
            "features": extraction_seconds,
            "heads": trained - started,
            "test": time.perf_counter() - trained,
        },
    )


def _device_notes(device: str) -> Iterator[str]:
    if not device.startswith("cpu"):
        yield (
            "On a GPU the gradients of CTC are summed in no fixed order: a repeated run differs "
            "a little."
        )
