"""Names of models on the Hugging Face hub."""

from __future__ import annotations

import re

from ..common.errors import InputError

_ID = re.compile(r"[\w.-]+/[\w.-]+")


def check_name(name: str) -> None:
    """Check that a name can be a hub id.

    Raises:
        InputError: it is not of the form OWNER/NAME.
    """
    if _ID.fullmatch(name) is None:
        raise InputError(f"name {name}: give the hub id of the model, OWNER/NAME")
