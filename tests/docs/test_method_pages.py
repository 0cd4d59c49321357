"""Every method of the package has a page, with its settings as the command line has them."""

from __future__ import annotations

import io
import re
from html import unescape
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from s3prl_compress.cli.listing import describe_settings
from s3prl_compress.methods import available

DOCS = Path(__file__).parents[2] / "docs"
PAGES = DOCS / "methods"
METHODS = sorted(
    name
    for name, info in available().items()
    if info.function.__module__.startswith("s3prl_compress.")
)


def build(folder: Path, text: str) -> str:
    """Build a page of one directive with the site's extension, and return its HTML."""
    source = folder / "source"
    source.mkdir()
    (source / "index.md").write_text(f"# Title\n\n{text}\n")
    (source / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(DOCS / '_extensions')!r})\n"
        "extensions = ['myst_parser', 'method_settings']\n"
        "html_theme = 'basic'\nsmartquotes = False\n"
    )
    warnings, trees = io.StringIO(), folder / "trees"
    with docutils_namespace():
        app = Sphinx(source, source, folder / "html", trees, "html", status=None, warning=warnings)
        app.build()
    if warnings.getvalue():
        raise RuntimeError(warnings.getvalue())
    return unescape((folder / "html" / "index.html").read_text("utf-8"))


def test_every_method_has_a_page() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == sorted([*METHODS, "index"])


@pytest.mark.parametrize("name", METHODS)
def test_a_page_shows_its_own_settings_and_the_index_names_it(name: str) -> None:
    page, index = ((PAGES / f"{one}.md").read_text("utf-8") for one in (name, "index"))
    assert re.findall(r"^```\{method-settings\} (\S+)$", page, re.MULTILINE) == [name]
    assert f"]({name}.md)" in index


@pytest.mark.parametrize("name", ["clustering", "distill", "self_pinching"])
def test_the_directive_shows_every_setting(tmp_path: Path, name: str) -> None:
    html = build(tmp_path, f"```{{method-settings}} {name}\n```")
    cells = [
        re.sub(r"<[^>]+>", "", cell).strip()
        for cell in re.findall(r"<td>(.*?)</td>", html, re.DOTALL)
    ]
    shown = {cells[n]: tuple(cells[n + 1 : n + 4]) for n in range(0, len(cells), 4)}
    expected = describe_settings(available()[name].config)
    assert set(shown) == {setting.name for setting in expected}
    for setting in expected:
        type_, default, meaning = shown[setting.name]
        assert type_ == setting.type.replace("|", ", ")
        assert default == ("required" if setting.default is None else setting.default)
        assert meaning == setting.meaning.replace("`", "")


def test_an_unknown_method_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no method 'clustring'; there are: clustering, ctc"):
        build(tmp_path, "```{method-settings} clustring\n```")
