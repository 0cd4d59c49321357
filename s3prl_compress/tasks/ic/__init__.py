"""Intent classification."""

from __future__ import annotations

from ..base.facts import CorpusFacts
from ..base.task import UTTERANCE_HEAD, Task
from .corpus import open_intents
from .prepare import prepare_intents

TASK = Task(
    name="ic",
    version=1,
    title="Intent classification",
    corpus=(
        "Fluent Speech Commands: wavs/speakers/<speaker>/<n>.wav, "
        "data/{train,valid,test}_data.csv with the columns path, speakerId, action, object, "
        "location; an utterance is right where all three are"
    ),
    metric="accuracy",
    s3prl="fluent_commands",
    head=UTTERANCE_HEAD.replace("the classes", "the values of all three slots"),
    variants=("fluent", "intents"),
    open_corpus=open_intents,
    prepare=prepare_intents,
    onepass="s3prl_compress.probing.utterances:run_seeds",
    clips="s3prl_compress.probing.utterances:list_clips",
    downstream=f"{__name__}.downstream:IntentClassification",
    official=CorpusFacts(
        train=23_132,
        dev=3_118,
        test=3_793,
        train_seconds=2.3,
        dev_seconds=2.3,
        test_seconds=2.3,
        classes=24,
    ),
)
