"""Parsing of JSON from files that anybody may have written."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str) -> Any:
    """Parse JSON text.

    Raises:
        ValueError: it is not JSON, or is nested more deeply than Python can parse.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
