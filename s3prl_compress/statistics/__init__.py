"""Metrics and the error model of scores: standard errors, intervals, p values and power.

It depends on NumPy, SciPy, statsmodels and jiwer, and on nothing else of this package. Outcomes are
the contributions of single utterances to a score, in points (percent). What differs from metric to
metric is in one object each; see `Metric`. Further public modules: `metrics` (the registered ones
and their functions), `noninferiority` and `mapsswe`.
"""

from .corrections import holm
from .crossed import POWER, Estimate, difference, estimate
from .edits import EditCounts
from .intervals import accuracy_interval, wilson_interval
from .metric import (
    Measured,
    Metric,
    PairedTest,
    find_metric,
    recorded_metric,
    register_metric,
)
from .metrics import Accuracy, ErrorRate
from .noninferiority import (
    ONE_SIDED,
    TWO_SIDED,
    Verdict,
    judge,
    overall,
    seeds_needed,
    units_needed,
)
from .outcomes import Outcomes, accuracy_outcomes, error_outcomes
from .units import MINIMUM_SPEAKERS, Units, sampling_units

__all__ = [
    "MINIMUM_SPEAKERS",
    "ONE_SIDED",
    "POWER",
    "TWO_SIDED",
    "Accuracy",
    "EditCounts",
    "ErrorRate",
    "Estimate",
    "Measured",
    "Metric",
    "Outcomes",
    "PairedTest",
    "Units",
    "Verdict",
    "accuracy_interval",
    "accuracy_outcomes",
    "difference",
    "error_outcomes",
    "estimate",
    "find_metric",
    "holm",
    "judge",
    "overall",
    "recorded_metric",
    "register_metric",
    "sampling_units",
    "seeds_needed",
    "units_needed",
    "wilson_interval",
]
