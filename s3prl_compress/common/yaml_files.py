"""Reading YAML files written by users: each mistake is reported in one line with file and key."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .errors import InputError
from .model_errors import Location, first_mistake

Model = TypeVar("Model", bound=BaseModel)

_MOST_VALUES, _DEEPEST, _LARGEST = 100_000, 50, 2**63
"""Bounds of a file's content. A few lines of aliases can stand for billions of values."""


def find_packaged(name: str, what: str, folder: str = "recipes") -> Path:
    """Return the path of a YAML file of the user or of the package.

    Args:
        name: `demo`, `recipes/demo.yaml` or any path.
        what: what the file is, for the error message: "suite".
        folder: folder of the packaged files: `recipes`, or one below it.

    Raises:
        InputError: there is no such file.
    """
    path = Path(name)
    if os.path.isfile(path):  # pathlib raises for names that are too long
        return path
    packaged = Path(str(resources.files("s3prl_compress.recipes"))).joinpath(
        *Path(folder).parts[1:]
    )
    if path.suffix == "" or path.parent == Path(folder):
        candidate = packaged / f"{path.stem}.yaml"
        if os.path.isfile(candidate):
            return candidate
    known = ", ".join(sorted(file.stem for file in packaged.glob("*.yaml")))
    raise InputError(f"{name}: no such file, and no packaged {what}; there are: {known}")


def read_text(path: Path, give: str = "a YAML file") -> str:
    """Return the text of a file; `give` says in the error message what to give instead.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with NUL
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{path}: cannot be read ({reason}); give {give}") from error


def parse(text: str, where: str | Path) -> Any:
    """Parse YAML text; `where` is the name of its file, for the error message.

    Raises:
        InputError: it is not YAML, or is too large or too deeply nested.
    """
    try:
        return copy.deepcopy(_parsed(text))
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply; correct it") from error
    # PyYAML lets through what Python's constructors of numbers and dates raise.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(
            f"{where}: not YAML ({' '.join(str(error).split())}); correct it"
        ) from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which PyYAML takes the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """See `yaml.composer.Composer`. Keys that `<<` will merge are not there yet."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        seen: set[tuple[str, str]] = set()
        for key in keys:
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key.value!r} is there twice", problem_mark=key.start_mark
                )
            seen.add((key.tag, key.value))
        return node


@lru_cache(maxsize=64)  # PyYAML takes 30 ms for a recipe, which every cell of a suite reads
def _parsed(text: str) -> Any:
    content = yaml.load(text, _Loader)  # constructs no objects
    _check_bounds(content)
    return content


def _check_bounds(content: Any) -> None:
    """Raise `ValueError` for too many values, with aliases counted as often as they are used."""
    waiting = [(content, 0)]
    seen = 0
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, int) and abs(value) >= _LARGEST:
            raise ValueError("a whole number beyond 64 bits")
        if isinstance(value, dict | list | set | tuple):
            seen += len(value)
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting += [(own, depth + 1) for own in inner]
        if seen > _MOST_VALUES or depth > _DEEPEST:
            raise ValueError(f"above {_MOST_VALUES} values, or {_DEEPEST} levels of nesting")


def validated(
    model: type[Model],
    data: Any,
    where: str | Path,
    keys: Callable[[Location], Sequence[str]] | None = None,
) -> Model:
    """Return `data` as a `model`.

    Args:
        model: the type to validate against.
        data: parsed content of a file.
        where: name of the file, for the error message.
        keys: the keys that are allowed where an unknown one was found, by its location; by default
            those of `model`.

    Raises:
        InputError: one line with the file, the key and the first mistake.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        reason = first_mistake(error, keys or (lambda location: list(model.model_fields)))
        raise InputError(f"{where}: {reason}") from error
