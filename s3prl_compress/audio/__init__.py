"""Recordings on disk: one reader for samples, tables and transcripts."""

from .audio_set import AudioSet, open_audio
from .reading import SAMPLING_RATE, read_audio, read_header
from .transcribed import TranscribedAudio, open_transcribed

__all__ = [
    "SAMPLING_RATE",
    "AudioSet",
    "TranscribedAudio",
    "open_audio",
    "open_transcribed",
    "read_audio",
    "read_header",
]
