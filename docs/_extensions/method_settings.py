"""The directive `method-settings`: the settings of a compression method as tables.

    ```{method-settings} clustering
    ```

The tables hold what `s3prl-compress ls methods NAME` prints: name, type, default and meaning of
every setting. Those that the method declares itself come first, then those that it shares.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from s3prl_compress.cli.listing import SettingHelp, describe_settings
from s3prl_compress.methods import available

if TYPE_CHECKING:
    from pydantic import BaseModel

COLUMNS = ("setting", "type", "default", "meaning")
_CHOICE = re.compile(r"(?P<before>.*?)(?P<values>\S+\|\S+)")


class MethodSettings(SphinxDirective):
    """Render the settings of the method that is named by the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return one or two tables; an unknown method is an error of the build."""
        name, methods = self.arguments[0], available()
        if name not in methods:
            raise self.error(f"no method {name!r}; there are: {', '.join(methods)}")
        own, shared = split_settings(methods[name].config)
        if not shared:
            return [settings_table(own)]
        parts: list[nodes.Node] = []
        if own:
            parts += [nodes.rubric(text="Settings of this method"), settings_table(own)]
        title = "Settings that it shares with other methods that train"
        return [*parts, nodes.rubric(text=title), settings_table(shared)]


def split_settings(
    config: type[BaseModel],
) -> tuple[list[SettingHelp], list[SettingHelp]]:
    """Return the settings that a class declares itself, and those that it inherits."""
    declared = inspect.get_annotations(config)
    settings = describe_settings(config)
    own = [setting for setting in settings if setting.name in declared]
    return own, [setting for setting in settings if setting.name not in declared]


def settings_table(settings: Sequence[SettingHelp]) -> nodes.table:
    """Return a table with one row for each setting."""
    table, group = nodes.table(), nodes.tgroup(cols=len(COLUMNS))
    table += group
    group += [nodes.colspec(colwidth=width) for width in (18, 14, 12, 56)]
    head, body = nodes.thead(), nodes.tbody()
    group += [head, body]
    head += _row([[nodes.Text(title)] for title in COLUMNS])
    for setting in settings:
        default: list[nodes.Node] = [nodes.emphasis(text="required")]
        if setting.default is not None:
            default = [_literal(setting.default)]
        name: list[nodes.Node] = [_literal(setting.name)]
        body += _row([name, _type(setting.type), default, _marked(setting.meaning)])
    return table


def _row(cells: Sequence[Sequence[nodes.Node]]) -> nodes.row:
    row = nodes.row()
    for content in cells:
        entry, paragraph = nodes.entry(), nodes.paragraph()
        paragraph += list(content)
        entry += paragraph
        row += entry
    return row


def _literal(text: str) -> nodes.literal:
    return nodes.literal(text=text)


def _type(text: str) -> list[nodes.Node]:
    """Return a type with each of the values of a choice set apart: "fold|share"."""
    choice = _CHOICE.fullmatch(text)
    if choice is None:
        return [nodes.Text(text)]
    found: list[nodes.Node] = [nodes.Text(choice["before"])] if choice["before"] else []
    for number, value in enumerate(choice["values"].split("|")):
        found += [nodes.Text(", ")] if number else []
        found.append(_literal(value))
    return found


def _marked(text: str) -> list[nodes.Node]:
    """Return a text in which code stands between backticks."""
    parts = text.split("`")
    return [_literal(part) if n % 2 else nodes.Text(part) for n, part in enumerate(parts) if part]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("method-settings", MethodSettings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
