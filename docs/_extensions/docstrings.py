"""Sphinx extension: small corrections to what autodoc and napoleon make of this project's code."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx

_VALUES = ("attribute", "data", "property")
_before_napoleon: dict[str, list[str]] = {}


def keep_text(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Remember the docstring of an attribute as it is in the source."""
    if what in _VALUES:
        _before_napoleon[name] = list(lines)


def restore_text(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Undo napoleon's change: it takes the text before a colon for the type of the attribute."""
    if what in _VALUES:
        lines[:] = _before_napoleon.pop(name)


def hide_signatures_of_models(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, None] | None:
    """Leave out the signature of a pydantic model: its fields follow, each with its docstring."""
    if what == "class" and isinstance(obj, type) and issubclass(obj, BaseModel):
        return "", None
    return None


def skip_model_config(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out pydantic's own attribute, which says nothing to users."""
    return True if name == "model_config" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the corrections: before and after napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", keep_text, priority=400)
    app.connect("autodoc-process-docstring", restore_text, priority=600)
    app.connect("autodoc-skip-member", skip_model_config)
    app.connect("autodoc-process-signature", hide_signatures_of_models)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
