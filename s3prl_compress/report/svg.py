"""Matplotlib figures as inline SVG that takes its looks from the page's style sheet.

Only the shapes and texts that matplotlib writes are kept. An artist's gid ("CLASS" or
"GROUP/CLASS") becomes the class of its shapes, and the group that holds them. So colours follow the
page's light or dark theme, and no ids, fonts, dates or versions get into the page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_PLACE = ("x", "y", "d", "transform")


def inline_svg(figure: Figure, label: str, groups: Mapping[str, Mapping[str, str]]) -> Markup:
    """Return what the artists with a gid have drawn.

    Args:
        figure: of 72 dots per inch, so that its pixels are the units of the drawing.
        label: what a screen reader calls the drawing.
        groups: attributes of the groups by their names; "title" is the group's tooltip.
    """
    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():  # texts stay texts
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(file, format="svg")
    drawn = fromstring(file.getvalue())
    outlines = {f"#{part.get('id')}": part.get("d", "") for part in drawn.iter(f"{_SVG}path")}
    svg = Element("svg", {"role": "group", "aria-label": label, "viewBox": drawn.attrib["viewBox"]})
    made = {"": svg}
    for gid, part in _parts(drawn):
        name, _, style = gid.rpartition("/")
        if name not in made:
            made[name] = SubElement(svg, "g", {**groups[name]})
            if title := made[name].attrib.pop("title", ""):
                SubElement(made[name], "title").text = title
        place = {
            key: part.attrib[key] for key in ("x", "y", "d", "transform") if key in part.attrib
        }
        if part.tag == f"{_SVG}use":  # a marker
            place["transform"] = f"translate({place.pop('x')} {place.pop('y')})"
            place["d"] = outlines[part.attrib[f"{_XLINK}href"]]
        shape = SubElement(
            made[name],
            "text" if part.tag == f"{_SVG}text" else "path",
            {"class": style, **{key: _rounded(value) for key, value in place.items()}},
        )
        shape.text = part.text
    return Markup(tostring(svg, encoding="unicode"))


def _parts(group: Element, gid: str = "") -> Iterator[tuple[str, Element]]:
    """Yield all shapes and texts, each with the id of the innermost group around it."""
    for part in group:
        if part.tag == f"{_SVG}g":
            yield from _parts(part, part.get("id", gid))
        elif part.tag in (f"{_SVG}path", f"{_SVG}use", f"{_SVG}text"):
            yield gid, part


def _rounded(numbers: str) -> str:
    """Round to a tenth of a unit, and drop line breaks and spaces that separate nothing."""
    rounded = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", numbers)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", rounded)
