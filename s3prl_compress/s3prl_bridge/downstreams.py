"""The downstreams by the name of our task."""

from __future__ import annotations

from collections.abc import Mapping

from .downstream import Downstream
from .emotion_recognition import EmotionRecognition
from .keyword_spotting import KeywordSpotting
from .speaker_identification import SpeakerIdentification
from .speech_recognition import SpeechRecognition

DOWNSTREAMS: Mapping[str, Downstream] = {
    "ks": KeywordSpotting(),
    "sid": SpeakerIdentification(),
    "er": EmotionRecognition(),
    "asr": SpeechRecognition(),
}
"""How s3prl runs each of `s3prl_compress.scoring.TASKS`."""
