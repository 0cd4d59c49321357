"""Reading what people write in YAML: every mistake is one line with the file and the key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .errors import InputError
from .model_errors import Location, first_mistake

Model = TypeVar("Model", bound=BaseModel)


def find_packaged(name: str, what: str, folder: str = "recipes") -> Path:
    """Return a file: a path, or the name of one that comes with the package.

    Args:
        name: `demo`, `recipes/demo.yaml` or any path.
        what: it is, in words: "suite".
        folder: of the packaged ones: `recipes`, or one below it.

    Raises:
        InputError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    packaged = Path(str(resources.files("s3prl_compress.recipes"))).joinpath(
        *Path(folder).parts[1:]
    )
    if path.suffix == "" or path.parent == Path(folder):
        found = packaged / f"{path.stem}.yaml"
        if found.is_file():
            return found
    known = ", ".join(sorted(file.stem for file in packaged.glob("*.yaml")))
    raise InputError(f"{name}: no such file, and no packaged {what}; there are: {known}")


def read_text(path: Path, give: str = "a YAML file") -> str:
    """Return a file's text; `give` says what would do in its place.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{path}: cannot be read ({reason}); give {give}") from error


def parse(text: str, where: str | Path) -> Any:
    """Return what a YAML text says; `where` is its file's name.

    Raises:
        InputError: it is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"{where}: not YAML ({' '.join(str(error).split())}); correct it"
        ) from error


def validated(
    model: type[Model],
    data: Any,
    where: str | Path,
    keys: Callable[[Location], Sequence[str]] | None = None,
) -> Model:
    """Return `data` as a `model`.

    Args:
        model: what it must be.
        data: what a file says.
        where: the file's name.
        keys: what may stand where a key that is not known stood; by default the model's own.

    Raises:
        InputError: one line with the file, the key and the first mistake.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        reason = first_mistake(error, keys or (lambda location: list(model.model_fields)))
        raise InputError(f"{where}: {reason}") from error
