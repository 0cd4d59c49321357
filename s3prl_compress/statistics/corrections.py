"""Correction of p values for multiple comparisons."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected by Holm's procedure (1979), which bounds the family-wise error."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return []
    corrected = multipletests(list(p_values), method="holm")[1]
    return [float(value) for value in corrected]
