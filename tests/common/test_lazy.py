"""Packages whose names are imported on first use."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = ("s3prl_compress", "s3prl_compress.suite", "s3prl_compress.transformers_bridge")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is getattr(module, name)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'other'"):
        module.other  # noqa: B018


def test_a_function_is_not_replaced_by_the_module_of_its_name() -> None:
    code = (
        "import s3prl_compress; first = s3prl_compress.score; import s3prl_compress.evaluation; "
        "raise SystemExit(s3prl_compress.score is not first or not callable(first))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
