"""Recipes of `compress`: YAML files that name methods and their settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..common.errors import InputError
from ..common.yaml_files import Location, find_packaged, parse, read_text, validated


class CompressionStep(BaseModel):
    """A method and its settings; omitted settings have the method's defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    settings: dict[str, Any] = {}


class CompressionRecipe(CompressionStep):
    """The content of a recipe: a method, and further methods that are applied to its result."""

    then: tuple[CompressionStep, ...] = ()

    def steps(self) -> tuple[CompressionStep, ...]:
        """Return all methods in the order in which they are applied."""
        return (CompressionStep(method=self.method, settings=self.settings), *self.then)


def resolve_steps(
    method: str | None, then: str | None, recipe: str | None
) -> tuple[CompressionStep, ...]:
    """Return the methods that the command line names, either directly or by a recipe.

    Raises:
        InputError: neither or both of method and recipe are given, or the recipe is invalid.
    """
    if recipe is not None:
        if method is not None or then is not None:
            raise InputError("a recipe names its methods: give either --recipe or --method")
        return read_recipe(find_recipe(recipe)).steps()
    if method is None:
        raise InputError(
            "no method: give --method NAME (see `s3prl-compress ls methods`) or --recipe FILE (see "
            "`s3prl-compress ls recipes`)"
        )
    return tuple(CompressionStep(method=name) for name in (method, then) if name is not None)


def find_recipe(name: str) -> Path:
    """Return the file of a recipe, given by its path or by the name of a packaged recipe.

    Raises:
        InputError: there is no such file and no packaged recipe of this name.
    """
    return find_packaged(name, "recipe", "recipes/compress")


def read_recipe(path: Path) -> CompressionRecipe:
    """Read a recipe, without validating the settings of its methods.

    Raises:
        InputError: the file cannot be read or is invalid; the message names the file and the key.
    """
    data = parse(read_text(path), path)
    return validated(CompressionRecipe, data, path, keys=_keys)


def _keys(location: Location) -> Sequence[str]:
    """Return the keys that are allowed at the place of an unknown key."""
    return list((CompressionRecipe if len(location) == 1 else CompressionStep).model_fields)
