"""Support for s3prl's own command line: SUPERB's configs, and patches of s3prl's downstreams.

For `s3prl_compress.run_downstream`, where the user and not our engine drives s3prl.
"""

from __future__ import annotations

import importlib
from pkgutil import resolve_name
from typing import Any

from ..common.errors import InputError
from ..s3prl_bridge.downstream import Downstream
from .registry import available_tasks

_LEARNING_RATE = 1e-4
"""s3prl's own default for these downstreams: a start for a search, and far from SID's best."""


def adapters() -> dict[str, Downstream]:
    """Return the adapters of all tasks, by the name of s3prl's downstream."""
    tasks = available_tasks().values()
    return {task.s3prl: resolve_name(task.downstream)() for task in tasks if task.downstream}


def official_config(downstream: str) -> dict[str, Any] | None:
    """Return SUPERB's config of a downstream, with empty places for paths that only the user knows.

    None if no task of ours has it.
    """
    for task in available_tasks().values():
        if task.downstream and task.s3prl == downstream:
            settings, _ = task.load_settings("official", "s3prl")
            adapter: Downstream = resolve_name(task.downstream)()
            return adapter.official_config(settings, _LEARNING_RATE)
    return None


def patch_downstreams() -> None:
    """Patch s3prl's downstreams in this process; call it after `register`."""
    for adapter in adapters().values():
        adapter.patch_command_line()
    _check_selections()


def _check_selections() -> None:
    """Make `-s` and `-l` fail in one line if the upstream has no such state.

    s3prl falls back to all hidden states for an unknown `-s`, with a warning among many lines.
    """
    runner: Any = importlib.import_module("s3prl.downstream.runner")

    class CheckingFeaturizer(runner.Featurizer):
        def _select_feature(self, features: dict[str, Any]) -> Any:
            try:
                return super()._select_feature(features)
            except IndexError:
                count = len(features[self.feature_selection])
                raise InputError(
                    f"-l {self.layer_selection}: the upstream has {count} hidden states, 0 to "
                    f"{count - 1}"
                ) from None

    def featurizer(upstream: Any, feature_selection: str, **options: Any) -> Any:
        built = CheckingFeaturizer(upstream, feature_selection, **options)
        if built.feature_selection != feature_selection:
            raise InputError(
                f"-s {feature_selection}: the upstream has no such state; leave it out for the "
                "weighted sum of all hidden states, or select one with -l NUMBER"
            )
        return built

    runner.Featurizer = featurizer
