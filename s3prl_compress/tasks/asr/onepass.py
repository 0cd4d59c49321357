"""The one-pass engine for ASR: s3prl's recogniser, trained on stored frames of all layers.

Equal to s3prl's runner: the head and its initialisation, SpecAugment after the weighted sum, the
buckets, the loss, clipping, Adam and accumulation; evaluation on dev every `eval_step` steps,
where only a strictly lower word error rate replaces the best one; greedy decoding; one test.

Different, and said in every record where it matters:

- Frames are stored in float16.
- s3prl keeps no head before dev's word error rate is below 100 %; then the newest one counts, as
  with the engine `s3prl` here.
- What comes next (the order of the buckets, SpecAugment, dropout) follows from the seed and the
  number of the step, so that a run that was killed ends where an undisturbed one does.
- Heads of several learning rates are trained one after the other, each from the same weights and
  on the same batches. So are several seeds: they share the stored frames, no more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ...encoder.adapter import UpstreamAdapter
from ...probing.frames import Frames, load_frames
from ...probing.recogniser_training import Training, recognise
from ...probing.training import padding_notes
from ..base.engine import EngineResult, Job
from ..base.transcripts import TranscribedCorpus


def run_seeds(jobs: Sequence[Job]) -> Iterator[EngineResult]:
    """Score the jobs' encoder; see the module for what is equal to s3prl and what differs."""
    started = time.perf_counter()
    corpus = jobs[0].corpus
    encoder = jobs[0].encoder
    assert isinstance(corpus, TranscribedCorpus)
    assert not isinstance(encoder, UpstreamAdapter)  # `score` refuses them
    frames = load_frames(
        encoder,
        corpus,
        padding=jobs[0].padding,
        cache=jobs[0].features_folder,
        device=jobs[0].device,
        seconds_per_batch=jobs[0].settings.seconds_per_batch,
    )
    extracted = 0.0 if frames.reused else time.perf_counter() - started
    for job in jobs:
        yield _train_and_test(job, frames, extracted / len(jobs))


def _train_and_test(job: Job, frames: Frames, extraction_seconds: float) -> EngineResult:
    started = time.perf_counter()
    training = Training(job, frames)
    rates = training.sweep()
    trained = time.perf_counter()
    chosen = min(rates, key=lambda rate: rate.dev_score)  # the first one where two tie
    head = training.best_head(rates.index(chosen), chosen)
    texts = recognise(head, frames, frames.plan.rows["test"])
    training.forget()
    return EngineResult(
        predictions=[
            (job.corpus.utterance_name(item), item.label, text)
            for item, text in zip(job.corpus.items("test"), texts, strict=True)
        ],
        rates=rates,
        learning_rate=chosen.learning_rate,
        dev_score=chosen.dev_score,
        approximate=job.padding != "independent",
        notes=_notes(job, training.left_out),
        seconds={
            "features": extraction_seconds,
            "heads": trained - started,
            "test": time.perf_counter() - trained,
        },
    )


def _notes(job: Job, left_out: int) -> tuple[str, ...]:
    notes = [
        "Frames of all layers are stored in float16.",
        "Where dev's word error rate is never below 100 %, the newest head is tested and 100 is "
        "its dev score; s3prl itself would keep none.",
    ]
    if left_out:
        notes.append(
            f"{left_out} training utterance is never used: it makes a last batch of one, which "
            "s3prl drops."
        )
    if not job.device.startswith("cpu"):
        notes.append(
            "On a GPU the gradients of CTC are summed in no fixed order: a repeated run differs "
            "a little."
        )
    return (*notes, *padding_notes(job))
