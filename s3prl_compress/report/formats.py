"""Formatting of numbers and of method chains for readers."""

from __future__ import annotations

import math

_LONG_METHODS = 60  # characters
_SHOWN_SETTINGS = 2
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def count(number: float) -> str:
    """Write a count with four significant digits: 94371712 is "94.37 M"."""
    for unit, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= unit:
            return f"{four_digits(number / unit)}{suffix}"
    return f"{number:.0f}"


def four_digits(number: float) -> str:
    """Write a number with four significant digits and never with an exponent."""
    if number == 0 or not math.isfinite(number):
        return f"{number:.0f}"
    decimals = max(0, 3 - math.floor(math.log10(abs(number))))
    return f"{number:.{decimals}f}"


def megabytes(size: float) -> str:
    """Write a size in bytes as megabytes of 10^6 bytes."""
    return f"{four_digits(size / 1e6)} MB"


def giga(number: float) -> str:
    """Write multiply-adds in G, as the SUPERB leaderboard does, whatever their number."""
    return f"{four_digits(number / 1e9)} G"


def learning_rate(rate: float) -> str:
    """Write 0.001 as "1e-3"."""
    mantissa, exponent = f"{rate:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def percent(share: float) -> str:
    """Write a fraction as a percentage: 0.254 is "25 %"."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.1 else f"{100 * share:.1f} %"


def signed(number: float, decimals: int) -> str:
    """Write a difference with its sign: a typographic minus, and no sign at zero."""
    text = f"{abs(number):.{decimals}f}"
    if float(text) == 0:
        return text
    return ("+" if number > 0 else "\N{MINUS SIGN}") + text


def decimals_for(errors: list[float]) -> int:
    """Return the number of decimals that scores with these standard errors justify."""
    smallest = min(errors, default=0.0)
    return 0 if smallest >= 5 else 1 if smallest >= 0.5 else 2


def short_methods(text: str) -> str:
    """Shorten a long chain to two settings per method: "fold(a=1, sparsity=0.1, ...)".

    The sparsity is one of the two. Fingerprints of audio and of teachers are left out.
    """
    if len(text) <= _LONG_METHODS:
        return text
    return " + ".join(_short_method(method) for method in _split(text, " + "))


def _short_method(text: str) -> str:
    name, bracket, rest = text.partition("(")
    settings = _split(rest.removesuffix(")"), ", ")
    telling = [setting for setting in settings if "sha256" not in setting]
    if not bracket or len(settings) == len(telling) <= _SHOWN_SETTINGS:
        return text
    first = sorted(telling, key=lambda setting: not setting.startswith("sparsity="))
    shown = [setting for setting in telling if setting in first[:_SHOWN_SETTINGS]]
    return f"{name}({', '.join([*shown, _ELLIPSIS])})"


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside brackets."""
    parts: list[str] = []
    depth = 0
    for piece in text.split(separator):
        if depth:
            parts[-1] += separator + piece
        else:
            parts.append(piece)
        depth += sum(piece.count(sign) for sign in "([{") - sum(piece.count(s) for s in ")]}")
    return parts


def p_value(value: float) -> str:
    """Write a p value with two significant digits, and never as zero."""
    if value < 1e-4:
        return "< 0.0001"
    if value >= 0.995:
        return "1"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.{1 - math.floor(math.log10(value))}f}"


def score(value: float, error: float | None, decimals: int) -> str:
    """Write a score with its standard error, where it has one."""
    text = f"{value:.{decimals}f}"
    return text if error is None else f"{text} \N{PLUS-MINUS SIGN} {error:.{decimals}f}"
