"""Which utterances of a test set vary together: speakers, or the utterances themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

MINIMUM_SPEAKERS = 7
"""With fewer speakers a result is not generalised beyond them. A variance between six speakers has
five degrees of freedom at best, and hardly more than one where their numbers of utterances differ.
"""


@dataclass(frozen=True)
class Units:
    """The sampling units of a test set."""

    units: NDArray[numpy.intp]
    """[utterances], numbers from 0: utterances of one number vary together."""
    strata: NDArray[numpy.intp]
    """[utterances], numbers from 0: units are a sample of the stratum that they belong to, and
    strata are fixed. Few speakers are one stratum each; otherwise there is a single stratum."""
    speakers: int
    """Number of named speakers."""
    generalises: bool
    """The units are speakers, so that an error is over the population of speakers."""

    def __str__(self) -> str:
        if self.generalises:
            return f"{self.speakers} speakers"
        utterances = f"{len(self.units)} utterances"
        if not self.speakers:
            return utterances
        return f"{utterances} of {self.speakers} speaker{'' if self.speakers == 1 else 's'}"


def sampling_units(speakers: Sequence[str]) -> Units:
    """Choose the sampling units of a test set.

    With at least `MINIMUM_SPEAKERS` speakers the units are speakers; an utterance without a speaker
    is a unit of its own. With fewer, the units are utterances within each speaker, and the error is
    conditional on these speakers. Without any speaker the units are utterances.

    Args:
        speakers: [utterances], who speaks; "" where not known.
    """
    named = {speaker for speaker in speakers if speaker}
    utterances = numpy.arange(len(speakers))
    one_stratum = numpy.zeros(len(speakers), dtype=numpy.intp)
    if not named:
        return Units(utterances, one_stratum, 0, generalises=False)
    if len(named) < MINIMUM_SPEAKERS:
        return Units(utterances, _strata(speakers), len(named), generalises=False)
    labels = [speaker or str(number) for number, speaker in enumerate(speakers)]
    known = [bool(speaker) for speaker in speakers]
    units = _numbers(list(zip(known, labels, strict=True)))
    return Units(units, one_stratum, len(named), generalises=True)


def _strata(speakers: Sequence[str]) -> NDArray[numpy.intp]:
    """Return one stratum per speaker who has several utterances.

    All other utterances share a stratum, because a single utterance has no variance within its own.
    """
    counts = Counter(speakers)
    shared = [speaker for speaker in speakers if not speaker or counts[speaker] == 1]
    if len(shared) == 1 and len(speakers) > 1:
        largest = max(counts, key=lambda speaker: counts[speaker])
        return _numbers([largest if speaker == shared[0] else speaker for speaker in speakers])
    return _numbers([speaker if counts[speaker] > 1 else "" for speaker in speakers])


def _numbers(labels: Sequence[object]) -> NDArray[numpy.intp]:
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return numpy.array([order[label] for label in labels], dtype=numpy.intp)
