"""Reading YAML files written by users: each mistake is reported in one line with file and key."""

from __future__ import annotations

import copy
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
    if path.is_file():
        return path
    packaged = Path(str(resources.files("s3prl_compress.recipes"))).joinpath(
        *Path(folder).parts[1:]
    )
    if path.suffix == "" or path.parent == Path(folder):
        candidate = packaged / f"{path.stem}.yaml"
        if candidate.is_file():
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
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{path}: cannot be read ({reason}); give {give}") from error


def parse(text: str, where: str | Path) -> Any:
    """Parse YAML text; `where` is the name of its file, for the error message.

    Raises:
        InputError: it is not YAML.
    """
    try:
        return copy.deepcopy(_parsed(text))
    except yaml.YAMLError as error:
        raise InputError(
            f"{where}: not YAML ({' '.join(str(error).split())}); correct it"
        ) from error


@lru_cache(maxsize=64)  # PyYAML takes 30 ms for a recipe, which every cell of a suite reads
def _parsed(text: str) -> Any:
    return yaml.safe_load(text)


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
