"""The downstreams by the name of our task."""

from __future__ import annotations

from collections.abc import Mapping

from ..s3prl_bridge.downstream import Downstream
from .asr.downstream import SpeechRecognition
from .er.downstream import EmotionRecognition
from .ks.downstream import KeywordSpotting
from .sid.downstream import SpeakerIdentification

DOWNSTREAMS: Mapping[str, Downstream] = {
    "ks": KeywordSpotting(),
    "sid": SpeakerIdentification(),
    "er": EmotionRecognition(),
    "asr": SpeechRecognition(),
}
"""How s3prl runs each of `s3prl_compress.evaluation.TASKS`."""
