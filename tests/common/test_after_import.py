"""Functions run after a module's import, or at once if it has been imported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from s3prl_compress.common.after_import import after_import


def test_functions_run_after_the_import_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_for_this_test.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    seen: list[int] = []

    def look() -> None:
        seen.append(sys.modules["made_for_this_test"].VALUE)

    after_import({"made_for_this_test": look, "made_for_another_test": seen.clear})
    assert seen == []
    importlib.import_module("made_for_this_test")
    importlib.import_module("made_for_this_test")
    assert seen == [1]
    after_import({"made_for_this_test": look})
    assert seen == [1, 1]
    del sys.modules["made_for_this_test"]
