"""MAPSSWE: the matched pairs sentence-segment word error test (Gillick & Cox 1989).

It compares two recognisers when only the speech varies. Where heads are trained, seeds vary too,
and the crossed model (`statistics.difference`) is the test.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy

TextUnit = Literal["words", "characters"]

FEW_SEGMENTS = 50
"""With fewer segments the test's normal approximation is rough (Gillick & Cox 1989)."""


def segment_differences(
    truth: Sequence[str], first: Sequence[str], second: Sequence[str], count: TextUnit = "words"
) -> numpy.ndarray:
    """Return the errors of `first` minus those of `second` in every segment with an error.

    Segments follow Gillick & Cox (1989) and NIST: an utterance is cut wherever both recognisers
    have at least two consecutive words right, with nothing inserted between them. The alignments
    are jiwer's, of the units that are counted; with characters, a word is right if all of its
    characters are, and the spaces around it.

    Args:
        truth: [utterances], the reference texts.
        first: [utterances], the transcripts of one recogniser.
        second: [utterances], the transcripts of the other.
        count: the errors to count, in words or in characters.

    Returns:
        [segments] of int; segments without any error are left out.
    """
    marks = [_error_places(truth, one, count) for one in (first, second)]
    differences: list[int] = []
    for text, one, other in zip(truth, *marks, strict=True):
        (places,) = numpy.nonzero(one | other)
        if len(places) == 0:
            continue
        # Between neighbouring places with errors everything is right; tokens have odd places.
        starts, ends = (places[:-1] + 1) // 2, places[1:] // 2
        right = ends - starts if count == "words" else _whole_words(text.strip(), starts, ends)
        cuts = numpy.concatenate([[0], numpy.flatnonzero(right >= 2) + 1])
        differences += numpy.add.reduceat((one - other)[places], cuts).tolist()
    return numpy.array(differences, dtype=int)


def _whole_words(text: str, starts: numpy.ndarray, ends: numpy.ndarray) -> numpy.ndarray:
    """Count the words that lie within each range of characters, with a space on either side."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    firsts, lasts = numpy.array(words).reshape(-1, 2).T
    ended = numpy.searchsorted(lasts, ends - 1, side="right")
    before = numpy.searchsorted(firsts, starts + 1, side="left")
    return numpy.maximum(ended - before, 0)


def _error_places(
    truth: Sequence[str], predicted: Sequence[str], count: TextUnit
) -> list[numpy.ndarray]:
    """Return each utterance's errors by place: gap, token, gap, ..., gap [2 tokens + 1]."""
    import jiwer

    in_words = count == "words"
    process = jiwer.process_words if in_words else jiwer.process_characters
    result = []
    alignments = process(list(truth), list(predicted)).alignments
    for text, parts in zip(truth, alignments, strict=True):
        errors = numpy.zeros(2 * len(text.split() if in_words else text.strip()) + 1, dtype=int)
        for part in parts:
            if part.type == "insert":
                errors[2 * part.ref_start_idx] += part.hyp_end_idx - part.hyp_start_idx
            elif part.type != "equal":
                errors[2 * part.ref_start_idx + 1 : 2 * part.ref_end_idx : 2] += 1
        result.append(errors)
    return result


def matched_pairs(differences: numpy.ndarray) -> float:
    """Return the two-tailed p value of MAPSSWE from the segments' differences.

    W = mean / (standard deviation / sqrt(n)) against the normal distribution (Gillick & Cox 1989,
    section 4). Where all segments differ by the same number there is no deviation to divide by:
    then it is the sign test's 2^(1 - n).
    """
    from statsmodels.stats.weightstats import ztest

    if not differences.any():
        return 1.0
    if (differences == differences[0]).all():
        return 2.0 ** (1 - len(differences))
    return float(ztest(differences)[1])
