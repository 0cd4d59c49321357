"""Notes on a table's errors: what varied, what was tested, what could have been detected."""

from __future__ import annotations

from collections.abc import Sequence

from ..statistics import MINIMUM_SPEAKERS
from . import formats
from .companions import with_companion_first
from .rows import Row
from .uncertainty import LEVEL, NOT_RESOLVED, ONE_SEED


def error_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes below a block, about what its rows have."""
    notes = (_scores(rows), _tests(rows), _resolution(rows), _one_seed(rows))
    return [note for note in notes if note]


def companion_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes on the tests of the second metric of a block's rows."""
    others = [with_companion_first(row) for row in rows if row.companion is not None]
    if not others:
        return []
    name = others[0].metric.partition(" (")[0]
    return [f"{name}: {note}" for note in (_tests(others), _resolution(others)) if note]


def detectable_text(rows: Sequence[Row]) -> str:
    """Return the smallest detectable difference of a block's rows: "2.1 to 3.0 points", or ""."""
    limits = [one for row in rows if (one := row.significance.detectable) is not None]
    if not limits:
        return ""
    decimals = formats.decimals_for([row.standard_error for row in rows])
    low, high = (f"{end:.{decimals}f}" for end in (min(limits), max(limits)))
    return f"{low} points" if low == high else f"{low} to {high} points"


def units_text(row: Row) -> str:
    """Return what a row's error is over, and the speakers that it is conditional on."""
    utterances, speakers = f"{row.test_size} utterances", row.error_speakers
    if row.over_speakers:
        return str(row.error_units)
    if not speakers:
        return f"{utterances}, since the predictions do not say who speaks"
    these = "this one speaker" if speakers == 1 else f"these {speakers} speakers"
    return (
        f"{utterances}, conditional on {these}: fewer than {MINIMUM_SPEAKERS} are too few to "
        "generalise over"
    )


def _scores(rows: Sequence[Row]) -> str:
    known = [row for row in rows if row.error_units]
    if not known:
        return ""
    counts = [row.seed_count for row in known if row.seeds]
    several = [count for count in counts if count > 1]
    seeds = f"{_range(several)} seeds and " if several else ""
    text = f"Errors and 95 % intervals are over {seeds}{units_text(known[0])}."
    if 1 in counts:
        text += (
            " Those of a single seed are conditional on its head; another seed may differ by more."
        )
    return text


def _tests(rows: Sequence[Row]) -> str:
    tested = [row for row in rows if row.significance.p_value is not None]
    if not tested:
        return ""
    tests = " or ".join(filter(None, dict.fromkeys(row.significance.p_test for row in tested)))
    seeds = list(filter(None, dict.fromkeys(row.significance.p_seeds for row in tested)))
    in_pairs = [int(text) for text in seeds if "+" not in text]
    independent = [text for text in seeds if "+" in text]
    on = [f"on the {_range(in_pairs)} seeds that both have"] if in_pairs else []
    on += [f"on {' and '.join(independent)} seeds, which are independent"] if independent else []
    return (
        f"p: {tests}, two-sided, against the dense upstream on the same utterances"
        f"{''.join(f', {text}' for text in on)}; corrected after Holm for {_rows(len(tested))}."
    )


def _resolution(rows: Sequence[Row]) -> str:
    limits = detectable_text(rows)
    if not limits:
        return ""
    tested = [row for row in rows if row.significance.detectable is not None]
    text = (
        "Smallest detectable difference (power 80 %, two-sided test at "
        f"{LEVEL} after correction for {_rows(len(tested))}): {limits}."
    )
    names = _names(rows, NOT_RESOLVED)
    if names:
        text += f" Not resolved, which is not evidence of no loss: {names}."
    return text


def _one_seed(rows: Sequence[Row]) -> str:
    names = _names(rows, ONE_SEED)
    return f"Not tested, because the row or dense has a single seed: {names}." if names else ""


def _names(rows: Sequence[Row], resolution: str) -> str:
    return ", ".join(row.upstream for row in rows if row.significance.resolution == resolution)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
