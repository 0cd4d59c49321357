"""Packages import each other through their faces, or through modules that the faces name."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import s3prl_compress

ROOT = Path(s3prl_compress.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


def package_of(module: str) -> str:
    """Return the package that a module belongs to; every task is one of its own."""
    parts = module.split(".")
    return ".".join(parts[:2] if parts[0] == "tasks" and len(parts) > 2 else parts[:1])


@cache
def imported(module: str) -> set[str]:
    """Return the modules of the package that a module imports, inside functions, too."""
    path = MODULES[module]
    here = ["s3prl_compress", *module.split(".")]
    if path.name != "__init__.py":
        here = here[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        start = here[: len(here) - node.level + 1] if node.level else []
        source = ".".join([*start, *([node.module] if node.module else [])])
        if source.split(".")[0] != "s3prl_compress":
            continue
        for name in node.names:
            full = f"{source}.{name.name}".removeprefix("s3prl_compress.")
            short = source.removeprefix("s3prl_compress").removeprefix(".")
            names.add(full if full in MODULES else short)
    return names - {""}


@cache
def public_modules(package: str) -> set[str]:
    """Return the modules that a face names in its docstring or takes its own names from."""
    face = ast.parse(MODULES[package].read_text(encoding="utf-8"))
    words = (ast.get_docstring(face) or "").split("`")[1::2]
    sources = {name.removeprefix(f"{package}.") for name in imported(package)}
    return {*words, *sources}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_other_packages_are_used_through_their_faces(module: str) -> None:
    for target in imported(module):
        package = package_of(target)
        if package in (package_of(module), target) or package not in MODULES:
            continue
        inside = target.removeprefix(f"{package}.")
        public = public_modules(package)
        assert inside in public or inside.split(".")[0] in public, (
            f"{module} imports {target}: name it in the docstring of {package}, or import the "
            f"name from {package}"
        )
