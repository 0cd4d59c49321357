"""The style of the plots, and their SVG: it takes its colours from the page it stands in."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

SERIES = 6
"""Colours and markers there are, for methods; more methods begin again."""

# Colours that nobody would choose: each is replaced by a variable of the page's style sheet.
INK, MUTED, RULE = "#010101", "#020202", "#030303"
_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule"}
SERIES_COLOURS = [f"#0400{number:02x}" for number in range(1, SERIES + 1)]
_VARIABLES |= {colour: f"--series-{n}" for n, colour in enumerate(SERIES_COLOURS, start=1)}
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # wider than what browsers use: labels never meet
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


def svg(figure: Figure, prefix: str, rows: Sequence[dict[str, Any]]) -> str:
    """Write the figure as an element of a page: own ids, the page's colours, hover text."""
    target = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": prefix}):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)  # inline, an element needs no namespaces and no size
    text = re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", opening) + ">" + rest
    text = text.replace("xlink:href", "href")
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    for row in rows:
        opening = f'<g id="{prefix}-point-{row["row"]}">'
        text = text.replace(opening, f"{opening}<title>{escape(_hover(row))}</title>")
    label = escape(f"{rows[0]['metric']} against {prefix.rsplit('-', 1)[-1]}", quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _hover(row: dict[str, Any]) -> str:
    lines = [
        row["upstream"],
        row["methods"] or "dense",
        f"{row['metric']} {row['score']:.2f} \N{PLUS-MINUS SIGN} {row['standard_error']:.2f}",
        f"engine {row['engine']}, padding {row['padding']}, seeds {row['seeds']}, "
        f"learning rate {row['learning_rate']}",
        f"{row['date']}, {row['machine']}",
    ]
    return "\n".join(lines)
