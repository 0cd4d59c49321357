"""Connectionist temporal classification (CTC): loss, batches of utterances, new heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio import SAMPLING_RATE, TranscribedAudio
from ..audio.listing import tell
from ..common.errors import InputError
from ..encoder import CTCHead, SpeechEncoder
from ..encoder.ctc_text import character_vocabulary, check_vocabulary, encode
from .batches import AudioBatches


def ctc_loss(
    head: CTCHead, hidden: Tensor, frame_counts: Tensor, targets: Sequence[Tensor]
) -> Tensor:
    """Return the CTC loss per symbol, averaged over the utterances; a scalar.

    It is computed in float32 even under autocast. An utterance with more symbols than frames
    contributes zero.

    Args:
        head: maps hidden states to symbols.
        hidden: the encoder's last hidden state, [batch, frames, hidden].
        frame_counts: number of frames of each utterance, [batch].
        targets: indices of each utterance's symbols, [symbols] each.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        logs = F.log_softmax(head(hidden.float()), dim=-1).transpose(0, 1)
        return F.ctc_loss(
            logs,
            torch.cat([target.to(hidden.device) for target in targets]),
            frame_counts,
            torch.tensor([len(target) for target in targets]),
            blank=head.blank,
            zero_infinity=True,
        )


@dataclass(frozen=True)
class TranscribedBatches:
    """Batches of whole utterances, and their symbols."""

    speech: TranscribedAudio
    vocabulary: tuple[str, ...]
    batch_seconds: float
    """Largest amount of audio in a batch, including padding; a batch has at least one utterance."""
    seed: int

    @cached_property
    def targets(self) -> list[Tensor]:
        """Indices of the symbols of every utterance, [symbols] each.

        Raises:
            InputError: the vocabulary is not one for these transcripts.
        """
        check_vocabulary(self.speech.texts, self.vocabulary, str(self.speech.audio.root))
        return [torch.tensor(encode(text, self.vocabulary)) for text in self.speech.texts]

    @cached_property
    def batches(self) -> AudioBatches:
        """The batches of utterances."""
        audio = self.speech.audio
        samples = int(self.batch_seconds * SAMPLING_RATE)
        return AudioBatches(audio, max(audio.lengths), samples, self.seed)


def drop_long_utterances(speech: TranscribedAudio, seconds: float) -> TranscribedAudio:
    """Return the utterances that are at most `seconds` long; report how many are left out.

    Raises:
        InputError: all utterances are longer.
    """
    audio = speech.audio
    kept = [n for n, length in enumerate(audio.lengths) if length <= seconds * SAMPLING_RATE]
    if not kept:
        raise InputError(
            f"{audio.root}: all {len(audio.files)} utterances are longer than {seconds:g} s; "
            "raise longest_seconds or cut them"
        )
    if long := len(audio.files) - len(kept):
        tell(
            f"{audio.root}: {long} of {len(audio.files)} utterances are longer than {seconds:g} s "
            "and left out"
        )
    return speech.subset(kept)


def add_head(encoder: SpeechEncoder, texts: Sequence[str], seed: int) -> None:
    """Give `encoder` a new CTC head in place, with a symbol for every character of `texts`."""
    vocabulary = character_vocabulary(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = CTCHead(encoder.shape.hidden, vocabulary, blank=0)
    encoder.head = head.to(encoder.device)
