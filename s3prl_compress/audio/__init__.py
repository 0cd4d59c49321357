"""Recordings on disk: the only readers of audio files, tables of recordings and transcripts.

Other packages use the names below, and these modules: `clips` (audio of a corpus), `listing`,
`reading`, `table` and `transcribed`.
"""

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
