from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

import pytest

from s3prl_compress.statistics import (
    Metric,
    Outcomes,
    accuracy_outcomes,
    find_metric,
    metric,
    recorded_metric,
    register_metric,
)
from s3prl_compress.tasks.registry import available_tasks


@dataclass(frozen=True)
class Lengths(Metric):
    """A metric in one object: the share of predictions of the right length."""

    name: str = "length accuracy"
    higher_is_better: bool = True

    def outcomes(
        self, truth: Sequence[str], predicted: Sequence[Sequence[str]], folds: Sequence[int] = ()
    ) -> Outcomes:
        right = [
            [len(one) == len(two) for one, two in zip(truth, texts, strict=True)]
            for texts in predicted
        ]
        return accuracy_outcomes(right, folds)


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what a test registers."""
    monkeypatch.setattr(metric, "_metrics", dict(metric._metrics))
    metric._import_installed.cache_clear()


def test_a_registered_metric_is_found_by_name_and_by_what_records_say() -> None:
    lengths = register_metric(Lengths())
    assert find_metric("length accuracy") is lengths
    assert lengths.label == "length accuracy (percent)"
    assert recorded_metric(lengths.label) is lengths
    assert recorded_metric("length accuracy") is lengths
    assert recorded_metric("another (percent)") is None


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no metric 'F1'; there are: CER, PER, WER, accuracy"):
        find_metric("F1")


def test_a_name_is_taken_once() -> None:
    register_metric(Lengths())
    register_metric(Lengths())  # the same module, imported again
    with pytest.raises(ValueError, match="length accuracy is already registered"):
        register_metric(Lengths(unit="per mille"))


def test_outcomes_are_all_that_a_metric_must_say() -> None:
    measured = Lengths().measure(["aa", "b", "cc", "d"], ["bb", "b", "c", "e"], [""] * 4)
    assert measured.score == pytest.approx(75)
    assert 0 <= measured.interval[0] < 75 < measured.interval[1] <= 100
    assert measured.units == "4 utterances"
    assert Lengths().chance(["a"]) is None
    assert Lengths().other_metrics(["a"], ["a"]) == {}


def test_every_tasks_unit_and_direction_are_its_metrics() -> None:
    for task in available_tasks().values():
        own = find_metric(task.metric)
        assert (task.unit, task.higher_is_better) == (own.unit, own.higher_is_better)
    assert {name: task.higher_is_better for name, task in available_tasks().items()}["asr"] is False


def _install(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let another package declare that this module registers metrics."""
    entry = metadata.EntryPoint("theirs", module, metric.ENTRY_POINT_GROUP)

    def entry_points(*, group: str) -> tuple[metadata.EntryPoint, ...]:
        return (entry,) if group == entry.group else ()

    monkeypatch.setattr(metadata, "entry_points", entry_points)


def test_another_package_adds_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module(ModuleType):
        """Registers its metric when it is loaded."""

        @property
        def lengths(self) -> Metric:
            return register_metric(Lengths())

    monkeypatch.setitem(sys.modules, "their_metrics", Module("their_metrics"))
    _install(monkeypatch, "their_metrics:lengths")
    assert recorded_metric("length accuracy (percent)") == Lengths()


def test_a_broken_package_takes_no_metric_away(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, "no.such.module")
    with pytest.warns(UserWarning, match=r"metrics of no\.such\.module are left out"):
        assert recorded_metric("length accuracy (percent)") is None
    assert find_metric("WER").name == "WER"
