"""The text of the pages, as MyST reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "_build" not in path.parts
)


@pytest.mark.parametrize("page", PAGES)
def test_no_line_is_lost_as_a_comment(page: str) -> None:
    """MyST takes a line that begins with % for a comment, as in "50<line break>% of them"."""
    text = (DOCS / page).read_text("utf-8")
    prose = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^\s*%.*", prose, re.MULTILINE) == []
