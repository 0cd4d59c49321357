"""Speech recognition."""

from __future__ import annotations

from ..base.facts import CorpusFacts
from ..base.prepare_transcripts import demo_transcripts, prepare_transcripts
from ..base.task import Task
from ..base.transcripts import open_transcripts

TASK = Task(
    name="asr",
    version=1,
    title="Speech recognition",
    corpus=(
        "LibriSpeech: <split>/<speaker>/<chapter>/<utterance>.flac and "
        "<speaker>-<chapter>.trans.txt; train-clean-100, dev-clean, test-clean"
    ),
    metric="WER",
    s3prl="asr",
    head=(
        "softmax-weighted sum of all hidden states, SpecAugment, linear, bidirectional "
        "LSTM, CTC on characters; greedy decoding, no language model"
    ),
    variants=("librispeech", "transcripts"),
    open_corpus=open_transcripts,
    prepare=prepare_transcripts,
    demo=demo_transcripts,
    onepass=f"{__name__}.onepass:run_seeds",
    downstream=f"{__name__}.downstream:SpeechRecognition",
    features="frames",
    official=CorpusFacts(
        train=28_539,
        dev=2_703,
        test=2_620,
        train_seconds=12.7,
        dev_seconds=7.2,
        test_seconds=7.4,
    ),
)
