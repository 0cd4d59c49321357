"""The one-pass engine of recognition: CTC heads of all rates and seeds on one set of frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..encoder import SpeechEncoder
from ..encoder.exported import ExportedEncoder
from ..tasks.base.engine import EngineResult, Job
from ..tasks.base.transcripts import TranscribedCorpus
from .frame_extraction import load_frames
from .frames import Frames, StreamedFrames
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
        half=jobs[0].settings.streamed_dtype == "bfloat16",
    )
    frames = replace(frames, first_state=jobs[0].settings.first_state)
    extracted = time.perf_counter() - started
    if isinstance(frames, StreamedFrames) or frames.reused:
        extracted = 0.0
    together = frames.streamed and jobs[0].settings.shared_batches
    with frames.ready():
        for group in [jobs] if together else [[job] for job in jobs]:
            yield from _train_and_test(group, frames, recognition, notes, extracted / len(jobs))


def _train_and_test(
    jobs: Sequence[Job],
    frames: Frames,
    recognition: RecognitionSpec,
    notes: Notes,
    extraction_seconds: float,
) -> Iterator[EngineResult]:
    started = time.perf_counter()
    training = Training(jobs, frames, recognition)
    rates = training.sweep()
    trained = time.perf_counter()
    # The first one where two tie.
    chosen = [min(own, key=lambda rate: rate.dev_score) for own in rates]
    heads = [
        training.best_head(job, own.index(best), best)
        for job, own, best in zip(jobs, rates, chosen, strict=True)
    ]
    texts = recognise(heads, frames, frames.plan.rows["test"])
    training.forget()
    seconds = {
        "features": extraction_seconds,
        "heads": (trained - started) / len(jobs),
        "test": (time.perf_counter() - trained) / len(jobs),
    }
    for job, own, best, head, found in zip(jobs, rates, chosen, heads, texts, strict=True):
        yield EngineResult(
            predictions=[
                (job.corpus.utterance_name(item), item.label, text)
                for item, text in zip(job.corpus.items("test"), found, strict=True)
            ],
            rates=own,
            learning_rate=best.learning_rate,
            dev_score=best.dev_score,
            layer_weights=layer_weights([head.layer_weights], job.settings.first_state),
            approximate=job.padding != "independent",
            notes=(
                *_frame_notes(frames, job),
                *notes(training.left_out),
                *_device_notes(job.device),
                *padding_notes(job),
            ),
            seconds=seconds,
        )


def _frame_notes(frames: Frames, job: Job) -> Iterator[str]:
    if frames.streamed:
        half = " in bfloat16" if job.settings.streamed_dtype == "bfloat16" else ""
        yield f"Frames of all layers are computed in every step{half}, and rounded to float16."
    else:
        yield "Frames of all layers are stored in float16."
    if job.settings.shared_batches:
        yield "All seeds see the same batches in the same order, so they differ less than in s3prl."


def _device_notes(device: str) -> Iterator[str]:
    if not device.startswith("cpu"):
        yield (
            "On a GPU the gradients of CTC are summed in no fixed order: a repeated run differs "
            "a little."
        )
