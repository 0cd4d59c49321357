"""A recipe for `compress`: a YAML file that says which methods, with which settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..common.errors import InputError
from ..common.yaml_files import Location, find_packaged, parse, read_text, validated


class Step(BaseModel):
    """A method and its settings; what is not given has the method's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    settings: dict[str, Any] = {}


class CompressionRecipe(Step):
    """What `compress --recipe` does: a method, and those for what it made."""

    then: tuple[Step, ...] = ()

    def steps(self) -> tuple[Step, ...]:
        """Return all methods in their order."""
        return (Step(method=self.method, settings=self.settings), *self.then)


def steps_of(method: str | None, then: str | None, recipe: str | None) -> tuple[Step, ...]:
    """Return the methods that the command line names, itself or by a recipe.

    Raises:
        InputError: neither a method nor a recipe, both of them, or a recipe that cannot be used.
    """
    if recipe is not None:
        if method is not None or then is not None:
            raise InputError("a recipe names its methods: give either --recipe or --method")
        return read_recipe(find_recipe(recipe)).steps()
    if method is None:
        raise InputError(
            "nothing says how: give --method NAME (see `s3prl-compress ls methods`) or --recipe "
            "FILE (see `s3prl-compress ls recipes`)"
        )
    return tuple(Step(method=name) for name in (method, then) if name is not None)


def find_recipe(name: str) -> Path:
    """Return a recipe's file: a path, or the name of a packaged one.

    Raises:
        InputError: there is neither.
    """
    return find_packaged(name, "recipe", "recipes/compress")


def read_recipe(path: Path) -> CompressionRecipe:
    """Read a recipe; what its methods say to the settings is not looked at.

    Raises:
        InputError: one line with the file and the key.
    """
    data = parse(read_text(path), path)
    return validated(CompressionRecipe, data, path, keys=_keys)


def _keys(location: Location) -> Sequence[str]:
    """Return the keys that may stand where a wrong one stood."""
    return list((CompressionRecipe if len(location) == 1 else Step).model_fields)
