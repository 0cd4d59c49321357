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
  on the same batches. So are several seeds: they share the stored frames, no more. Where frames
  are streamed, all learning rates train in step, and with `shared_batches` all seeds, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...probing.buckets import make_buckets
from ...probing.frames import Frames
from ...probing.recogniser import Recogniser
from ...probing.recogniser_training import RecognitionSpec
from ...probing.recognition import recognition_results
from ...statistics import metrics
from ..base.characters import CHARACTER_SYMBOLS
from ..base.corpus import Corpus
from ..base.engine import EngineResult, Job
from ..base.symbols import Symbols
from ..base.task import RecognitionHead


def run_seeds(jobs: Sequence[Job]) -> Iterator[EngineResult]:
    """Score the jobs' encoder; see the module for what is equal to s3prl and what differs."""
    return recognition_results(jobs, RECOGNITION, _notes)


def _symbols(corpus: Corpus) -> Symbols:
    return CHARACTER_SYMBOLS


def _head(job: Job, frames: Frames) -> Recogniser:
    return Recogniser(frames.states, frames.width, job.settings.recognition or RecognitionHead())


def _batches(samples: Sequence[int], symbols: Sequence[int], size: int) -> list[list[int]]:
    return make_buckets(samples, size)


def _notes(left_out: int) -> list[str]:
    notes = [
        "Where dev's word error rate is never below 100 %, the newest head is tested and 100 is "
        "its dev score; s3prl itself would keep none."
    ]
    if left_out:
        notes.append(
            f"{left_out} training utterance is never used: it makes a last batch of one, which "
            "s3prl drops."
        )
    return notes


RECOGNITION = RecognitionSpec(
    symbols=_symbols,
    head=_head,
    batches=_batches,
    error_rate=metrics.word_error_rate,
    none_kept=100.0,
)
