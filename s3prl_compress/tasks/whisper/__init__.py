"""Recognition by a Whisper model as it is. Not a SUPERB task: nothing is trained."""

from __future__ import annotations

from ..base.prepare_transcripts import demo_transcripts
from ..base.task import Task
from ..base.test_set import open_test_set, test_sets

TASK = Task(
    name="whisper",
    version=1,
    title="Recognition by a Whisper model",
    corpus=(
        "transcribed speech: LibriSpeech's layout (of several splits, test), or a csv table with "
        "the columns file and text (or transcript)"
    ),
    metric="WER",
    s3prl="",
    head="the model's own decoder, greedy; texts are scored after OpenAI's normaliser",
    variants=("transcripts",),
    open_corpus=open_test_set,
    test_sets=test_sets,
    demo=demo_transcripts,
    own_head=f"{__name__}.decoder:DECODER",
)
