"""The downstreams by the name of our task."""

from __future__ import annotations

from collections.abc import Mapping

from .downstream import Downstream
from .keyword_spotting import KeywordSpotting
from .speech_recognition import SpeechRecognition

DOWNSTREAMS: Mapping[str, Downstream] = {
    "ks": KeywordSpotting(),
    "asr": SpeechRecognition(),
}
"""How s3prl runs each of `s3prl_compress.scoring.TASKS`."""
