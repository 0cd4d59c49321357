"""The leaderboard as one self-contained HTML page: no network, style and script inline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from .formats import short_methods
from .notes import GENERATED_SPEECH, RANDOM_WEIGHTS
from .plot import cost_plots, look, series_of
from .provenance import Origin
from .view import Table

TITLE = "Compressed speech encoders"

# The plots' markers, in the same order as in `plot`, in a square of 10 units.
_SYMBOLS = (
    '<circle cx="5" cy="5" r="4"/>',
    '<rect x="1.2" y="1.2" width="7.6" height="7.6"/>',
    '<path d="M5 .8 9.4 9H.6z"/>',
    '<path d="M5 .2 9.8 5 5 9.8.2 5z"/>',
    '<path d="M5 9.2.6 1h8.8z"/>',
    '<path d="M3.4 1h3.2v2.4H9v3.2H6.6V9H3.4V6.6H1V3.4h2.4z"/>',
)
_DENSE = '<path d="M5 .8 9.2 5 5 9.2.8 5z" fill="none" stroke="var(--ink)" stroke-width="1.3"/>'


@dataclass(frozen=True)
class Legend:
    """One entry: what a marker stands for."""

    symbol: Markup
    name: str


@dataclass(frozen=True)
class Block:
    """A table with its plots."""

    table: Table
    plots: tuple[Markup, ...] = ()
    legend: tuple[Legend, ...] = ()
    caption: str = ""


def page(tables: Sequence[Table], speeds: Sequence[Table], origins: Sequence[Origin]) -> str:
    """Return the page: a section per table of scores, then of speeds, then the provenance.

    Every text out of a record is escaped. Sorting needs the inline script; without it the page
    still reads.
    """
    blocks = [_block(table, number) for number, table in enumerate(tables, start=1)]
    blocks += [Block(table) for table in speeds]
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        _packaged("page.html.j2")
    )
    return template.render(
        title=TITLE,
        lead=_lead(tables, speeds, origins),
        warnings=_warnings(tables),
        blocks=blocks,
        origins=origins,
        css=Markup(_packaged("page.css")),
        script=Markup(_packaged("page.js")),
        breakable=_breakable,
        short=short_methods,
        zip=zip,
    )


def _block(table: Table, number: int) -> Block:
    plots = cost_plots(table.rows, f"plot-{number}")
    series = series_of(table.rows)
    dense = any(row["reference"] for row in table.rows)
    legend = [Legend(_symbol(_DENSE), "dense")] if dense else []
    for name, index in series.items():
        hue, marker = look(index)
        shape = f'<g fill="var(--series-{hue + 1})">{_SYMBOLS[marker]}</g>'
        legend.append(Legend(_symbol(shape), name))
    chance = any('-chance">' in svg for svg in plots.svgs)
    caption = [
        "Upright bars are one standard error.",
        "Level bars are 95 % intervals." if "relative_time" in "".join(plots.svgs) else "",
        "The dashed line is the dense upstream." if dense else "",
        "The dotted line is chance." if chance else "",
        "Numbers are the rows of the table." if plots.numbered else "",
        "Further up and further left is better.",
    ]
    svgs = tuple(Markup(svg) for svg in plots.svgs)
    return Block(table, svgs, tuple(legend), " ".join(filter(None, caption)))


def _symbol(shape: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 10 10" aria-hidden="true">{shape}</svg>')


def _lead(tables: Sequence[Table], speeds: Sequence[Table], origins: Sequence[Origin]) -> str:
    rows: list[dict[str, Any]] = [row for table in (*tables, *speeds) for row in table.rows]
    upstreams = len({row["upstream"] for row in rows})
    records = sum(origin.records for origin in origins)
    dates = sorted(date for origin in origins for date in origin.dates.split(" to "))
    return (
        f"{upstreams} upstream{'' if upstreams == 1 else 's'}, {records} "
        f"record{'' if records == 1 else 's'}, {dates[-1][:10]}. Rows are compared within a "
        "table only: each holds one task, engine, padding, corpus and set of settings."
    )


def _warnings(tables: Sequence[Table]) -> list[str]:
    """Say above everything else what must not be overlooked."""
    rows = [row for table in tables for row in table.rows]
    flags = (("random_weights", RANDOM_WEIGHTS), ("generated_speech", GENERATED_SPEECH))
    return [text for key, text in flags if any(row[key] for row in rows)]


def _breakable(text: str) -> Markup:
    """Let a line end after an underscore or a bracket rather than in a word."""
    return Markup(re.sub(r"([_(])", r"\1<wbr>", str(escape(text))))


def _packaged(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
