"""setup.cfg and pyproject.toml match the code: dependencies, packages and import levels."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

from s3prl_compress.common.extras import MODULES

ROOT = Path(__file__).parents[1]
PLACES = {
    "s3prl_compress": ROOT / "s3prl_compress",
    "s3prl_compress.upstreams": ROOT / "upstreams",
    "s3prl_compress.recipes": ROOT / "recipes",
}
DISTRIBUTIONS = {
    "flashlight": "flashlight-text",
    "markupsafe": "jinja2",  # it hands out markupsafe's own types
    "sklearn": "scikit-learn",
    "whisper_normalizer": "whisper-normalizer",
    "yaml": "PyYAML",
}


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _names(text: str) -> set[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return {re.split(r"[\[<>=]", line)[0] for line in lines if not line.startswith("#")}


def _extras() -> dict[str, set[str]]:
    """Return the distributions of each extra; extras may include others of this package."""
    extras = _setup()["options.extras_require"].items()
    return {name: _names(text) - {"s3prl_compress"} for name, text in extras}


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"s3prl_compress"}


def test_every_import_is_declared() -> None:
    declared = _names(_setup()["options"]["install_requires"])
    extras = _extras()
    declared = declared.union(*(extras[name] for name in MODULES))
    for place in PLACES.values():
        for path in place.rglob("*.py"):
            needed = {DISTRIBUTIONS.get(name, name) for name in _imported(path)}
            assert needed <= declared, path


def test_extras_are_those_that_features_ask_for() -> None:
    extras = _extras()
    for name, modules in MODULES.items():
        assert extras[name] == {DISTRIBUTIONS.get(module, module) for module in modules}
    everything = _setup()["options.extras_require"]["all"].strip()
    # LGPL, and half a gigabyte of packages, only where they are asked for by name.
    common = [name for name in MODULES if name not in ("lm", "maeb")]
    assert everything == f"s3prl_compress[{','.join(common)}]"
    assert "s3prl_compress[all]" in _setup()["options.extras_require"]["test"].split()


def test_every_dependency_has_a_tested_version() -> None:
    setup = _setup()
    declared = _names(setup["options"]["install_requires"]).union(*_extras().values())
    assert declared == _names((ROOT / "constraints.txt").read_text(encoding="utf-8"))


def test_the_oldest_versions_are_those_declared() -> None:
    pins = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").split("\n")
    oldest = [line.replace("==", ">=") for line in pins if "==" in line]
    declared = _setup()["options"]["install_requires"].split()
    assert oldest
    assert {re.sub(r"\.0$", "", line) for line in oldest} <= set(declared)


def test_every_package_has_an_import_level() -> None:
    """Otherwise a new package could import, and be imported, without any check."""
    tomllib = pytest.importorskip("tomllib", reason="part of Python since 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    listed = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    package = ROOT / "s3prl_compress"
    paths = [path for path in package.glob("*.py") if path.stem != "__init__"]
    # `tasks` spans several levels, so its packages are listed one by one.
    paths += [file.parent for file in package.glob("*/__init__.py") if file.parent.name != "tasks"]
    paths += [file.parent for file in package.glob("tasks/*/__init__.py")]
    needed = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    assert needed <= listed


def test_every_package_is_listed() -> None:
    found = {
        ".".join((name, *file.parent.relative_to(place).parts))
        for name, place in PLACES.items()
        for file in place.rglob("__init__.py")
    }
    assert found == _names(_setup()["options"]["packages"])
