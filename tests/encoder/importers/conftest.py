"""Fixtures of the importers' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from ...support.baselines import baselines, small_shape
from .files import transformers_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A HuBERT folder that says it does not normalise."""
    return transformers_folder(
        tmp_path / "hubert", baselines.transformers_model(small_shape("hubert", False))
    )
