"""Speaker identification."""

from __future__ import annotations

from ..base.facts import CorpusFacts
from ..base.task import UTTERANCE_HEAD, Task
from .corpus import open_speakers
from .prepare import demo_speakers, prepare_speakers

TASK = Task(
    name="sid",
    version=1,
    title="Speaker identification",
    corpus=(
        "VoxCeleb1: <root>/*/wav/idXXXXX/<video>/<n>.wav, a list of lines "
        "`1|2|3 idXXXXX/<video>/<n>.wav` (train, dev, test)"
    ),
    metric="accuracy",
    s3prl="voxceleb1",
    head=UTTERANCE_HEAD,
    variants=("voxceleb1", "speakers"),
    open_corpus=open_speakers,
    prepare=prepare_speakers,
    demo=demo_speakers,
    onepass="s3prl_compress.probing.utterances:run_seeds",
    clips="s3prl_compress.probing.utterances:list_clips",
    downstream=f"{__name__}.downstream:SpeakerIdentification",
    crops_training=True,
    official=CorpusFacts(
        train=138_361,
        dev=6_904,
        test=8_251,
        train_seconds=8.2,
        dev_seconds=8.2,
        test_seconds=8.2,
        classes=1251,
    ),
)
