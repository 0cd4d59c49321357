"""Options of `compress` that depend on the method."""

from __future__ import annotations

from collections.abc import Sequence


def method_settings(argv: Sequence[str]) -> dict[str, str]:
    """Return the settings of the methods that are named in `argv`, with their help texts."""
    options = ("--method", "--then", "--recipe")
    values = {
        part.partition("=")[0][2:]: part.partition("=")[2] or following
        for part, following in zip(argv, [*argv[1:], ""], strict=True)
        if part.partition("=")[0] in options
    }
    given = {key: name for key, name in values.items() if name and not name.startswith("--")}
    if not given.keys() & {"method", "recipe"}:
        return {}
    from .compression import chained_settings
    from .compression_recipes import resolve_steps

    steps = resolve_steps(given.get("method"), given.get("then"), given.get("recipe"))
    return chained_settings([step.method for step in steps])
