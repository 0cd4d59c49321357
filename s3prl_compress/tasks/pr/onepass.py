"""The one-pass engine for PR: s3prl's linear head, trained on stored frames of all layers.

Equal to s3prl's runner: the head and its initialisation, the batches, the loss, clipping, Adam and
accumulation; evaluation on dev every `eval_step` steps, where only a strictly lower phoneme error
rate replaces the best one; greedy decoding; one test.

Different, and said in every record where it matters:

- Frames are stored in float16.
- The order of the batches follows from the seed and the number of the step, so that a run that
  was killed ends where an undisturbed one does.
- Heads of several learning rates are trained one after the other, each from the same weights and
  on the same batches. So are several seeds: they share the stored frames, no more. Where frames
  are streamed, all learning rates train in step, and with `shared_batches` all seeds, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...probing.frames import Frames
from ...probing.recogniser import LinearRecogniser
from ...probing.recogniser_training import RecognitionSpec
from ...probing.recognition import recognition_results
from ...statistics import metrics
from ..base.corpus import Corpus
from ..base.engine import EngineResult, Job
from ..base.symbols import Symbols
from .batches import sliding_batches
from .phonemes import phoneme_symbols


def run_seeds(jobs: Sequence[Job]) -> Iterator[EngineResult]:
    """Score the jobs' encoder; the module says what is equal to s3prl and what is not."""
    return recognition_results(jobs, RECOGNITION, _notes)


def _symbols(corpus: Corpus) -> Symbols:
    return phoneme_symbols(corpus.classes)


def _head(job: Job, frames: Frames) -> LinearRecogniser:
    symbols = phoneme_symbols(job.corpus.classes)
    return LinearRecogniser(frames.states, frames.width, job.settings.projector_dim, symbols)


def _notes(left_out: int) -> list[str]:
    if not left_out:
        return []
    return [
        f"{left_out} training utterances are never used: of a batch that begins with more than "
        "18.75 s, s3prl takes only the first half."
    ]


RECOGNITION = RecognitionSpec(
    symbols=_symbols,
    head=_head,
    batches=sliding_batches,
    error_rate=metrics.word_error_rate,  # phonemes are separated by spaces, as words are
)
