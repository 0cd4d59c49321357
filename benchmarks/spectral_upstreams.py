"""Upstreams made of spectra (statistics of log-mels and MFCC), and encoders standardised alike.

An upstream here returns the same vector for every frame of an utterance: statistics over all of its
frames. The mean over frames, which SUPERB's utterance heads take, is that vector again. So spectra
go through the same engine (corpus, head, learning rates, dev) as encoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from s3prl_compress.encoder import SAMPLING_RATE, SpeechEncoder, dense_shape
from s3prl_compress.pretraining.targets import mfcc
from s3prl_compress.tasks.base.corpus import Corpus

MEL_BANDS = 80
_WIDTHS = {
    "log-mel means": 80,
    "log-mel means and deviations": 160,
    "MFCC means and deviations": 78,
}
KINDS = tuple(_WIDTHS)


class SpectralUpstream(SpeechEncoder):
    """An encoder whose only hidden state holds statistics of the utterance's spectra.

    Args:
        kind: one of `KINDS`. Log-mels have 80 bands, in windows of 25 ms every 10 ms. MFCC are
            those of HuBERT's first targets: 13 with first and second differences, every 20 ms. Both
            are computed by torchaudio's reimplementation of Kaldi's features.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, kind: str) -> None:
        width = _WIDTHS[kind]
        shape = dense_shape(
            "hubert",
            hidden=width,
            layers=1,
            heads=1,
            ffn=1,
            conv_widths=(1,) * 7,
            position_kernel=1,
            position_groups=1,
        )
        super().__init__(shape)
        for weight in self.parameters():  # of no use here, but part of the identity
            torch.nn.init.zeros_(weight)
        self.kind = kind
        self.register_buffer("offset", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("number", torch.tensor([float(KINDS.index(kind))]))

    def statistics(self, waveform: Tensor) -> Tensor:
        """Return an utterance's statistics [width], not standardised."""
        if self.kind.startswith("MFCC"):
            frames = torch.from_numpy(mfcc(waveform, self.shape))
        else:
            frames = log_mels(waveform)
        parts = [frames.mean(0)]
        if "deviations" in self.kind:
            parts.append(frames.std(0, correction=0))
        return torch.cat(parts)

    def standardise(self, corpus: Corpus) -> None:
        """Standardise every statistic to mean 0 and deviation 1 over the training utterances."""
        values = torch.stack([self.statistics(wave) for wave in training_waves(corpus)])
        self.offset.copy_(values.mean(0))
        self.scale.copy_(values.std(0).clamp(min=1e-6))

    def forward(self, waveforms: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Map utterances to two equal hidden states [batch, frames, width], and frame counts."""
        counts = torch.tensor([self.shape.frames(len(waveform)) for waveform in waveforms])
        rows = [self.statistics(waveform.cpu()).to(self.device) for waveform in waveforms]
        vectors = (torch.stack(rows) - self.offset) / self.scale
        state = vectors.unsqueeze(1).expand(-1, int(counts.max()), -1)
        return (state, state), counts


class StandardisedEncoder(SpeechEncoder):
    """An encoder whose states are standardised like the statistics of spectra.

    Every dimension of every hidden state is brought to mean 0 and deviation 1 over the training
    utterances' means. The head is linear, so it can do no more with them than before; a gradient
    method gets there sooner.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, encoder: SpeechEncoder, corpus: Corpus) -> None:
        super().__init__(encoder.shape, normalize=encoder.normalize)
        self.load_state_dict(encoder.state_dict())
        rows = []
        with torch.no_grad():
            for wave in training_waves(corpus):
                states, _ = super().forward([wave])
                rows.append(torch.stack([state[0].mean(0) for state in states]))
        values = torch.stack(rows)  # [utterances, layers + 1, width]
        self.register_buffer("offset", values.mean(0))
        self.register_buffer("scale", values.std(0).clamp(min=1e-6))

    def forward(self, waveforms: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Map utterances to standardised hidden states, and frame counts."""
        states, counts = super().forward(waveforms)
        offsets, scales = self.offset, self.scale
        scaled = [
            (state - offset) / scale
            for state, offset, scale in zip(states, offsets, scales, strict=True)
        ]
        return tuple(scaled), counts


def training_waves(corpus: Corpus) -> Iterator[Tensor]:
    """Yield the training utterances' samples, without their labels.

    With cross-validation they are those of all folds together, which is all utterances.
    """
    paths = {item.path for fold in corpus.folds for item in corpus.items("train", fold)}
    for path in sorted(paths):
        yield corpus.read(path)


def log_mels(waveform: Tensor) -> Tensor:
    """Return [frames, 80] log energies."""
    from torchaudio.compliance.kaldi import fbank

    energies: Tensor = fbank(
        waveform[None], sample_frequency=float(SAMPLING_RATE), num_mel_bins=MEL_BANDS
    )
    return energies
