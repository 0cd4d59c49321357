"""s3prl's experiment config for a task, rendered from a recipe of ours.

s3prl's wheel holds no `config.yaml`. The keys are those that `downstream/runner.py`,
`optimizers.py` and `downstream/speech_commands/expert.py` of s3prl 0.4.18 read; the values of the
recipe `official` are those of SUPERB.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..scoring.task import Settings

_LOG_STEP = 100
"""s3prl's own: training accuracy is written this often."""
_SAVE_STEP = 1000
"""s3prl's own."""


def keyword_config(
    settings: Settings,
    train_root: Path | str,
    test_root: Path | str,
    learning_rate: float,
    splits: Sequence[str] = ("dev",),
) -> dict[str, Any]:
    """Return the config of s3prl's downstream `speech_commands`.

    Args:
        settings: from a recipe.
        train_root: folder of the word folders, with `_background_noise_`.
        test_root: folder of the test classes.
        learning_rate: one of the settings'.
        splits: evaluated every `eval_step` steps. s3prl's own file also has "test" there, which
            then is looked at many times; here it is evaluated once, at the end.
    """
    return {
        "runner": {
            "total_steps": settings.total_steps,
            "gradient_clipping": settings.gradient_clipping,
            "gradient_accumulate_steps": 1,
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
        "downstream_expert": {
            "datarc": {
                "speech_commands_root": str(train_root),
                "speech_commands_test_root": str(test_root),
                "num_workers": settings.num_workers,
                "batch_size": settings.batch_size,
            },
            "modelrc": {
                "projector_dim": settings.projector_dim,
                "select": "UtteranceLevel",
                "UtteranceLevel": {"pooling": "MeanPooling"},
            },
        },
    }


def _save_step(eval_step: int) -> int:
    """Save at every evaluation, so that a resumed run and its best checkpoint agree."""
    return _SAVE_STEP if eval_step % _SAVE_STEP == 0 else eval_step
