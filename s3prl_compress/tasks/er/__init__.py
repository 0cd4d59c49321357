"""Emotion recognition."""

from __future__ import annotations

from ..base.facts import CorpusFacts
from ..base.task import UTTERANCE_HEAD, Task
from .corpus import open_emotions
from .prepare import demo_emotions, prepare_emotions

TASK = Task(
    name="er",
    version=1,
    title="Emotion recognition",
    corpus=(
        "IEMOCAP, 4 classes, five-fold cross-validation: "
        "Session{1..5}/sentences/wav/<dialog>/<utterance>.wav, a json of labels per "
        "session and split"
    ),
    metric="accuracy",
    s3prl="emotion",
    head=UTTERANCE_HEAD,
    variants=("iemocap", "sessions"),
    open_corpus=open_emotions,
    prepare=prepare_emotions,
    demo=demo_emotions,
    onepass="s3prl_compress.probing.utterances:run_seeds",
    clips="s3prl_compress.probing.utterances:list_clips",
    downstream=f"{__name__}.downstream:EmotionRecognition",
    official=CorpusFacts(
        train=3_548,
        dev=887,
        test=1_106,
        train_seconds=4.5,
        dev_seconds=4.5,
        test_seconds=4.5,
        classes=4,
        folds=5,
    ),
)
