"""The base of every method's settings, and settings that have been renamed."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from .errors import RenamedSettingWarning
from .extras import Extra


class RenamedSettings(BaseModel):
    """Settings that can also be given under their former names, for one release."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Present name of each renamed setting of this class, by its former name."""

    @classmethod
    def former_names(cls) -> dict[str, str]:
        """Return the present name of every renamed setting by its former one.

        Includes the settings of the base classes. A subclass that declares a setting under a
        former name keeps it.
        """
        names: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            names |= base.__dict__.get("renamed", {})
        return {old: new for old, new in names.items() if old not in cls.model_fields}

    @classmethod
    def with_present_names(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings that were recorded by an earlier release under their present names."""
        names = cls.former_names()
        return {names.get(name, name): value for name, value in settings.items()}

    @classmethod
    def with_former_names(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings under the names that they had before they were renamed.

        Fingerprints of training runs are computed over these names, so that a run that was begun
        before the renaming can be resumed.
        """
        names = {new: old for old, new in cls.former_names().items()}
        return {names.get(name, name): value for name, value in settings.items()}

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):  # an instance of this class
            return values
        names = cls.former_names()
        for old in names.keys() & values.keys():
            new = names[old]
            if new in values:
                raise ValueError(f"{old} is the former name of {new}: give {new} only")
            warnings.warn(
                f"the setting {old} is now called {new}; the former name will stop working in the "
                "next release",
                RenamedSettingWarning,
                stacklevel=_stacklevel_of_caller(),
            )
        return cls.with_present_names(values)


class MethodConfig(RenamedSettings):
    """Base of a method's settings: each is a typed field with a default and a docstring.

    The docstring is the setting's help on the command line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    needs_extra: ClassVar[Extra | None] = None
    """Extra of this package that the method cannot run without."""

    def recorded(self) -> dict[str, Any]:
        """Return the settings as the encoder's history records them, as JSON types."""
        return self.model_dump(mode="json")

    @contextmanager
    def unchanged_inputs(self) -> Iterator[None]:
        """Check, when the block has ended, that files which the method reads have not changed.

        Raises:
            InputError: one has; the message names it.
        """
        yield


def _stacklevel_of_caller() -> int:
    """Return the `stacklevel` of the first caller outside this package and pydantic.

    Counted from the function that calls this one. Python shows a DeprecationWarning only where it
    is attributed to the user's own script.
    """
    own = {"pydantic", __name__.partition(".")[0]}
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in own:
        level, frame = level + 1, frame.f_back
    return level
