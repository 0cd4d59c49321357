"""Keyword spotting."""

from __future__ import annotations

from ..base.facts import CorpusFacts
from ..base.task import UTTERANCE_HEAD, Task
from .corpus import open_keywords
from .prepare import demo_keywords, prepare_keywords

TASK = Task(
    name="ks",
    version=1,
    title="Keyword spotting",
    corpus=(
        "Speech Commands v0.01: <train>/<word>/<speaker>_nohash_<n>.wav, "
        "<train>/_background_noise_/*.wav, <test>/<class>/*.wav"
    ),
    metric="accuracy",
    s3prl="speech_commands",
    head=UTTERANCE_HEAD,
    variants=("official", "digits"),
    open_corpus=open_keywords,
    prepare=prepare_keywords,
    demo=demo_keywords,
    onepass=f"{__name__}.onepass:run_seeds",
    clips=f"{__name__}.onepass:list_clips",
    downstream=f"{__name__}.downstream:KeywordSpotting",
    official=CorpusFacts(
        train=51_094,
        dev=6_798,
        test=3_081,
        train_seconds=1.0,
        dev_seconds=1.0,
        test_seconds=1.0,
        background=6,
        classes=12,
    ),
)
