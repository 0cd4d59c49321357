"""The leaderboard as one self-contained HTML page: no network, style and script inline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from . import four_task
from .costs import CHOICES
from .formats import short_methods
from .highlights import Highlight, highlights
from .notes import RANDOM_WEIGHTS
from .overview import OverviewGroup
from .plot import Plot, cost_plots, outline
from .provenance import Origin
from .rows import OverviewRow, PublishedRow, Row, SpeedRow
from .series import Look, series_of
from .table_model import Table
from .task_table import task_title
from .tooltip import tooltip_text

TITLE = "Compressed speech encoders"


@dataclass(frozen=True)
class Block:
    """A table with its plots; the page's script finds its rows and points by `number`."""

    number: int
    table: Table[Any]
    heading: str
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class Section:
    """Blocks of the same conditions, with their plots side by side and one legend."""

    title: str
    blocks: tuple[Block, ...]
    looks: Mapping[str, Look]
    caption: str
    highlights: tuple[Highlight, ...] = ()


def page(
    groups: Sequence[OverviewGroup],
    speeds: Sequence[Table[SpeedRow]],
    published: Table[PublishedRow] | None,
    origins: Sequence[Origin],
    left_out: str | None = None,
    weights: Table | None = None,
) -> str:
    """Return the page: a section per group of blocks, speeds, published rows, the provenance.

    Every text that comes from a record is escaped. Sorting and filtering need the inline script;
    the tables, the plots and the choice of their cost work without it. `weights` is the table of
    `layer_weights.layer_weights_table`.

    Args:
        groups: the blocks of scores.
        speeds: the measured speeds, one table per machine and setting.
        published: scores from the literature.
        origins: provenance of the records.
        left_out: a sentence that says which records the page does not show.
    """
    tables = [table for group in groups for table in group.tables]
    sections: list[Section] = []
    for group in groups:
        sections.append(_section(group, sum(len(section.blocks) for section in sections)))
    number = sum(len(section.blocks) for section in sections)
    last = _published(published, number) if published is not None else None
    shown = [plot.cost for part in (*sections, last) if part for plot in _plots(part.blocks)]
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        _packaged("page.html.j2")
    )
    return template.render(
        title=TITLE,
        lead=_lead(tables, speeds, origins),
        warnings=[*_warnings(tables), *([left_out] if left_out else [])],
        choices=[(key, name) for key, name in CHOICES.items() if key in shown],
        sections=sections,
        weights=None if weights is None else Block(0, weights, weights.title),
        speeds=[Block(number + 1 + n, table, table.title) for n, table in enumerate(speeds)],
        published=last,
        origins=origins,
        css=Markup(_packaged("page.css")),
        script=Markup(_packaged("page.js")),
        breakable=_breakable,
        outline=outline,
        tooltip=tooltip_text,
        short=short_methods,
        zip=zip,
    )


def _section(group: OverviewGroup, before: int) -> Section:
    tables: list[Table[Any]] = [*([group.overview] if group.overview else []), *group.tables]
    looks = series_of([row for table in tables for row in table.rows])
    blocks = tuple(
        Block(
            number,
            table,
            _heading(table, group),
            tuple(cost_plots(table.rows, looks, f"plot-{number}")),
        )
        for number, table in enumerate(tables, start=before + 1)
    )
    return Section(group.title, blocks, looks, _caption(blocks), tuple(highlights(group)))


def _published(table: Table[PublishedRow], before: int) -> Section:
    """Draw the published rows separately, without the baseline that has no parameters."""
    drawn = [row for row in table.rows if row.parameters]
    looks = series_of(drawn)
    plots = tuple(cost_plots(drawn, looks, f"plot-{before + 1}"))
    block = Block(before + 1, table, four_task.NAME, plots)
    return Section(table.title, (block,), looks, _caption((block,)))


def _heading(table: Table[Any], group: OverviewGroup) -> str:
    row: Row | OverviewRow = table.rows[0]
    if isinstance(row, OverviewRow):
        return row.metric[0].upper() + row.metric[1:]
    title, block = task_title(row.task), row.conditions
    alike = [other for other in group.tables if other.rows[0].task == row.task]
    return f"{title} ({block.corpus}, {block.variant})" if len(alike) > 1 else title


def _plots(blocks: Sequence[Block]) -> list[Plot]:
    return [plot for block in blocks for plot in block.plots]


def _caption(blocks: Sequence[Block]) -> str:
    """Return how to read these plots, mentioning only what they show."""
    svgs = "".join(plot.svg for plot in _plots(blocks))
    overview = isinstance(blocks[0].table.rows[0], OverviewRow)
    caption = [
        "Up and left is better.",
        "Vertical bars are 95 % intervals." if 'class="bar" d="M' in svgs else "",
        "Horizontal bars are those of the measured time." if "measured time, dense" in svgs else "",
        "The stepped line is the Pareto front: it dominates everything below and to its right.",
        "In the plot of all tasks, filled markers differ on at least one task." if overview else "",
        "The dashed line is the dense upstream." if "dense-line" in svgs else "",
        "The dotted line is chance." if "chance-line" in svgs else "",
        "Axes of error rates are inverted." if "(inverted)" in svgs else "",
        "Numbers are those of the table's rows." if any(p.numbered for p in _plots(blocks)) else "",
    ]
    return " ".join(filter(None, caption))


def _lead(
    tables: Sequence[Table[Row]], speeds: Sequence[Table[SpeedRow]], origins: Sequence[Origin]
) -> str:
    rows: list[Row | SpeedRow] = [row for table in tables for row in table.rows]
    rows += [row for table in speeds for row in table.rows]
    upstreams = len({row.upstream for row in rows})
    records = sum(origin.records for origin in origins)
    dates = sorted(date for origin in origins for date in origin.dates.split(" to "))
    return (
        f"{upstreams} upstream{'' if upstreams == 1 else 's'}, {records} "
        f"record{'' if records == 1 else 's'}, {dates[-1][:10]}. Rows are compared within a "
        "table only: each holds one task, engine, padding, corpus and set of settings."
    )


def _warnings(tables: Sequence[Table[Row]]) -> list[str]:
    """Return what must not be overlooked, for the top of the page."""
    rows = [row for table in tables for row in table.rows]
    flags = [row.random_weights for row in rows]
    some = "Some rows have random weights: they say nothing about compression."
    random = RANDOM_WEIGHTS if all(flags) else some if any(flags) else None
    return [text for text in (four_task.warning(rows), random) if text and rows]


def _breakable(text: str) -> Markup:
    """Allow line breaks after an underscore, a dot or a bracket, but not inside a word."""
    return Markup(re.sub(r"([_(]|\.(?!\d))", r"\1<wbr>", str(escape(text))))


def _packaged(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
