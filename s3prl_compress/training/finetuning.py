"""Fine-tuning on transcribed speech with a CTC loss, in stages like those of distillation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..audio import AudioSet, TranscribedAudio, open_transcribed
from ..audio.table import Split
from ..encoder import CTCHead, SpeechEncoder
from ..encoder.model import Features
from .ctc import TranscribedBatches, ctc_loss, drop_long_utterances
from .loop import Batches, Progress
from .penalty import Penalty
from .processes import local_device, rank_and_world_size
from .regularisation import Regularisation, RegularisedConfig, regularised
from .stages import Stage, identity_of, on_device, resolved_precision, run_stage


class TranscribedConfig(RegularisedConfig):
    """Settings of methods that can learn from transcripts."""

    split: Split = "train"
    """Which split of the transcribed speech to train on; sources without splits are used whole."""
    longest_seconds: float = Field(default=20.0, gt=0)
    """Transcribed utterances longer than this many seconds are left out."""
    cache_features: bool = Field(default=False, exclude=True)
    """Compute the output of frozen convolutions once for each utterance and keep it in memory: 70
    MB per hour of audio and 100 channels, half of that in bfloat16."""

    _listed_speech: TranscribedAudio | None = PrivateAttr(default=None)
    _opened_speech: TranscribedAudio | None = PrivateAttr(default=None)

    def listed_speech(self) -> TranscribedAudio:
        """Return names, lengths and texts of the utterances, without decoding audio.

        They are checked in the first call; later calls return the same object.

        Raises:
            InputError: the speech cannot be used.
        """
        if self._listed_speech is None:
            listed = open_transcribed(self.audio, self.split, minimum_samples=1)
            self._listed_speech = drop_long_utterances(listed, self.longest_seconds)
        return self._listed_speech

    def transcribed(self, minimum_samples: int) -> TranscribedAudio:
        """Return the speech to train on: all utterances of at least `minimum_samples` samples.

        It is decoded into memory if `cache_in_memory` is set.

        Raises:
            InputError: the speech cannot be used.
        """
        if self._opened_speech is None:
            speech = self.listed_speech()
            speech = speech.subset(speech.audio.of_at_least(minimum_samples))
            audio = speech.audio.hold() if self.cache_in_memory else speech.audio
            audio.check_audible()
            self._opened_speech = TranscribedAudio(audio, speech.texts, speech.speakers)
        return self._opened_speech


class TranscribedOnlyConfig(TranscribedConfig):
    """Settings of methods that always learn from transcripts."""

    audio: Path = Field(exclude=True)
    """Transcribed speech to train on: a folder in LibriSpeech's layout (`*.trans.txt` beside the
    audio), or a csv table with the columns `file`, `text` (or `transcript`) and optionally
    `split`. Any sampling rate and number of channels."""

    def recorded(self) -> dict[str, Any]:
        """Return the settings for the history, with a fingerprint of the transcripts."""
        return super().recorded() | {"transcripts": texts_fingerprint(self.listed_speech())}

    def listed(self) -> AudioSet:
        """Return names and lengths of the transcribed audio files."""
        return self.listed_speech().audio

    def open(self, minimum_samples: int) -> AudioSet:
        """Return the audio of the transcribed speech to train on."""
        return self.transcribed(minimum_samples).audio


def texts_fingerprint(speech: TranscribedAudio) -> str:
    """Return the SHA-256 of all transcripts."""
    return hashlib.sha256("\n".join(speech.texts).encode()).hexdigest()


class CTCModule(nn.Module):
    """The CTC loss of a student's last hidden state, and an optional penalty.

    Args:
        student: called like an encoder; its attribute `head` is a CTC head.
        penalty: penalty on the student; its own parameters are trained as well.
        regularisation: source of the masks of each batch.
    """

    def __init__(
        self, student: nn.Module, penalty: Penalty | None, regularisation: Regularisation
    ) -> None:
        super().__init__()
        self.student, self.penalty = student, penalty
        self.regularisation = regularisation

    def forward(
        self,
        waveforms: Sequence[Tensor] | Features,
        targets: Sequence[Tensor],
        frames: Sequence[int],
        key: tuple[int, int],
        step: int,
        weight: float,
    ) -> dict[str, Tensor]:
        """Return `loss` and its parts, all scalars.

        Args:
            waveforms: 1-D, at 16 kHz; or what the front end made of them.
            targets: indices of each utterance's symbols, [symbols] each.
            frames: number of frames of each utterance.
            key: number of the batch and of the process; no two batches share them.
            step: number of the update.
            weight: factor of this batch's CTC loss.
        """
        if self.penalty is not None:
            self.penalty.begin(self.student, step)
        masks = self.regularisation.draw(frames, *key)
        if masks is not None:
            masks = masks.to(waveforms[0].device)
        states, counts = self.student(waveforms, masks)
        head = self.student.head
        assert isinstance(head, CTCHead)
        loss = ctc_loss(head, states[-1], counts, targets) * weight
        scalars = {"ctc": loss.detach(), "loss": loss}
        if self.penalty is not None:
            added = dict(self.penalty(self.student, step))
            scalars["loss"] = loss + added.pop("loss")
            scalars |= added
        return scalars


def finetune(
    student: nn.Module,
    encoder: SpeechEncoder,
    config: TranscribedConfig,
    stage: Stage,
    penalty: Penalty | None = None,
) -> Progress:
    """Train `student` in place to recognise transcribed speech; leave it in eval mode.

    An interrupted stage resumes from the work folder. On a CPU the result is bit-identical; on a
    GPU the gradients of the CTC loss vary from run to run.

    Args:
        student: `encoder`, or a module that runs it with other weights.
        encoder: the encoder whose weights are trained; it has a CTC head. Parameters that do not
            require gradients stay as they are.
        config: speech, and the settings that all stages share.
        stage: schedule of this stage.
        penalty: penalty on the student; its own parameters are trained as well.

    Returns:
        The history of the stage.

    Raises:
        InputError: the speech cannot be used, the work folder holds another run, or the loss is
            not finite.
    """
    assert encoder.head is not None
    speech = config.transcribed(encoder.shape.minimum_samples)
    device = local_device(encoder.device)
    identity = identity_of(
        student, config, stage, speech.audio.fingerprint(), texts_fingerprint(speech)
    )
    batches = _batches(speech, encoder, config, device)
    with regularised(encoder, config) as regularisation:
        model = CTCModule(student, penalty, regularisation)
        progress = run_stage(model, batches, config, stage, device, identity)
    student.eval()
    return progress


def epochs_to_updates(config: TranscribedConfig, speech: TranscribedAudio, epochs: float) -> int:
    """Return the number of updates in `epochs` passes over the speech."""
    planned = TranscribedBatches(speech, (), config.batch_seconds, config.seed)
    return max(1, round(epochs * planned.batches.per_pass / config.accumulation))


class _FrontEnd:
    """Runs a frozen front end once for each utterance and keeps what it returns."""

    def __init__(self, encoder: SpeechEncoder, precision: str) -> None:
        self.encoder, self.half = encoder, precision == "bf16"
        self.kept: dict[int, Features] = {}

    def __call__(self, files: Sequence[int], waveforms: Sequence[Tensor]) -> Features:
        """Return the features of a batch; `files` are the numbers of its utterances."""
        single = [self._of(*pair) for pair in zip(files, waveforms, strict=True)]
        values = pad_sequence([one.values[0] for one in single], batch_first=True)
        valid = torch.zeros(values.shape[:2], dtype=torch.bool, device=values.device)
        span = self.encoder.shape.attention_span
        for row, one in zip(valid, single, strict=True):
            own = one.values.shape[1]
            row[:own] = True if one.valid is None else one.valid[0]
            if span is not None and len(row) > span:
                # Blocks beyond the utterance are not masked, as in the front end: with nothing to
                # look at, their frames would become NaN.
                row[-(-own // span) * span :] = True
        frames = torch.cat([one.frames for one in single])
        return Features(values, None if valid.all() else valid, frames)

    def _of(self, file: int, waveform: Tensor) -> Features:
        if file not in self.kept:
            device = self.encoder.device.type
            with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self.half):
                self.kept[file] = self.encoder.features([waveform])
        return self.kept[file]


def _batches(
    speech: TranscribedAudio,
    encoder: SpeechEncoder,
    config: TranscribedConfig,
    device: torch.device,
) -> Batches:
    assert encoder.head is not None
    vocabulary, shape = encoder.head.vocabulary, encoder.shape
    planned = TranscribedBatches(speech, vocabulary, config.batch_seconds, config.seed)
    targets = planned.targets  # computed here so that unknown characters fail before training
    front_end = None
    if config.cache_features:
        front_end = _FrontEnd(encoder, resolved_precision(config, device))

    def batches(first: int) -> Iterator[dict[str, Any]]:
        own, processes = rank_and_world_size()
        source = planned.batches.iterate(first, config.workers, (own, processes))
        for number, (crops, waveforms) in enumerate(source, start=first):
            mine = [crop.file for crop in crops[own::processes]]
            # With these weights, the mean over processes is the mean over the whole batch.
            weight = processes * len(mine) / len(crops)
            if not mine:
                waveforms = [torch.zeros(shape.minimum_samples)]
            frames = [shape.frames(len(waveform)) for waveform in waveforms]
            prepared = on_device(waveforms, device)
            yield {
                # Number -1 is the silence of a process without an utterance.
                "waveforms": front_end(mine or [-1], prepared) if front_end else prepared,
                "targets": [targets[file] for file in mine] or [torch.zeros(1).long()],
                "frames": frames,
                "key": (number, own),
                "step": number // config.accumulation,
                "weight": weight,
            }

    return batches
