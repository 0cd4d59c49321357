"""The part of s3prl's experiment configs that all downstreams share, made from our recipes.

s3prl's wheel holds no `config.yaml`. The keys are those that `downstream/runner.py`,
`optimizers.py` and the experts of s3prl 0.4.18 read; the values of the recipes `official` are
those of SUPERB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..tasks.base.task import Settings

_LOG_STEP = 100
"""s3prl's own: training's metrics are written this often."""
_SAVE_STEP = 1000
"""s3prl's own."""


def experiment(
    settings: Settings,
    learning_rate: float,
    *,
    data: Mapping[str, Any],
    model: Mapping[str, Any],
    splits: Sequence[str],
) -> dict[str, Any]:
    """Return a config for s3prl's runner.

    Args:
        settings: from a recipe.
        learning_rate: one of the settings'.
        data: the expert's `datarc`.
        model: the expert's `modelrc`.
        splits: evaluated every `eval_step` steps. s3prl's own files also have "test" there, which
            then is looked at many times; here it is evaluated once, at the end.
    """
    return {
        "runner": {
            "total_steps": settings.total_steps,
            "gradient_clipping": settings.gradient_clipping,
            "gradient_accumulate_steps": settings.accumulation,
            "log_step": min(_LOG_STEP, settings.eval_step),
            "eval_step": settings.eval_step,
            "save_step": _save_step(settings.eval_step),
            # s3prl removes the oldest before it writes the newest: with one, a kill in between
            # would lose the whole run.
            "max_keep": 2,
            "eval_dataloaders": list(splits),
        },
        "optimizer": {
            "name": "TorchOptim",
            "torch_optim_name": settings.optimizer,
            "lr": learning_rate,
        },
        "downstream_expert": {"datarc": dict(data), "modelrc": dict(model)},
    }


def utterance_head(settings: Settings) -> dict[str, Any]:
    """Return the `modelrc` of the tasks that classify whole utterances."""
    return {
        "projector_dim": settings.projector_dim,
        "select": "UtteranceLevel",
        "UtteranceLevel": {"pooling": "MeanPooling"},
    }


def _save_step(eval_step: int) -> int:
    """Save at every evaluation, so that a resumed run and its best checkpoint agree."""
    return _SAVE_STEP if eval_step % _SAVE_STEP == 0 else eval_step
