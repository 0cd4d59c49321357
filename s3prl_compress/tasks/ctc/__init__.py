"""Recognition by a model's own CTC head. Not a SUPERB task: the whole model was fine-tuned.

Other packages also use `ngram`, which estimates language models.
"""

from __future__ import annotations

from ..base.prepare_transcripts import demo_transcripts
from ..base.task import Task
from ..base.test_set import open_test_set, test_sets

TASK = Task(
    name="ctc",
    version=1,
    title="Recognition by the model's own CTC head",
    corpus=(
        "transcribed speech: LibriSpeech's layout (of several splits, test), or a csv table with "
        "the columns file and text (or transcript)"
    ),
    metric="WER",
    s3prl="",
    head="the checkpoint's own, as it was fine-tuned; greedy decoding, or beam search with --lm",
    variants=("transcripts",),
    open_corpus=open_test_set,
    test_sets=test_sets,
    demo=demo_transcripts,
    own_head=f"{__name__}.greedy:GREEDY",
)
