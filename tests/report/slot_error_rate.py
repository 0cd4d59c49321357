"""A metric in one file, as another package would add it: wrong slots over all slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from s3prl_compress.statistics import Metric, Outcomes, error_outcomes, register_metric


@dataclass(frozen=True)
class SlotErrorRate(Metric):
    """Wrong slots over all slots, place by place: no insertions, so never above 100 %."""

    name: str = "slot error rate"
    higher_is_better: bool = False

    def outcomes(
        self, truth: Sequence[str], predicted: Sequence[Sequence[str]], folds: Sequence[int] = ()
    ) -> Outcomes:
        """Return the number of wrong slots of every utterance, for every seed."""
        errors = [
            [
                sum(map(str.__ne__, right.split(), text.split()))
                for right, text in zip(truth, texts, strict=True)
            ]
            for texts in predicted
        ]
        return error_outcomes(errors, [len(text.split()) for text in truth])


register_metric(SlotErrorRate())
