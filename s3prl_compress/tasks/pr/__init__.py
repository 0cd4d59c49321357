"""Phoneme recognition."""

from __future__ import annotations

from ..base.facts import CorpusFacts
from ..base.task import Task
from .corpus import open_phonemes
from .phonemes import PHONEMES
from .prepare import demo_phonemes, prepare_phonemes

TASK = Task(
    name="pr",
    version=1,
    title="Phoneme recognition",
    corpus=(
        "LibriSpeech (train-clean-100, dev-clean, test-clean), with a line of phonemes for each "
        "utterance in phonemes/<split>.txt, which `prepare pr` makes from its words and s3prl's "
        "two lexicons"
    ),
    metric="PER",
    s3prl="ctc",
    head=(
        "softmax-weighted sum of all hidden states, linear to 256, linear to the phonemes, no "
        "non-linearity; CTC; greedy decoding"
    ),
    variants=("librispeech", "phonemes"),
    open_corpus=open_phonemes,
    prepare=prepare_phonemes,
    demo=demo_phonemes,
    onepass=f"{__name__}.onepass:run_seeds",
    downstream=f"{__name__}.downstream:PhonemeRecognition",
    features="frames",
    official=CorpusFacts(
        train=28_539,
        dev=2_703,
        test=2_620,
        train_seconds=12.7,
        dev_seconds=7.2,
        test_seconds=7.4,
        classes=len(PHONEMES),
    ),
)
