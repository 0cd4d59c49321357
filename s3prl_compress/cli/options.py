"""Options of `compress` that depend on the method."""

from __future__ import annotations

from collections.abc import Sequence


def settings_of_method(argv: Sequence[str]) -> dict[str, str]:
    """Return the settings of the methods that `compress` is told to use, with their help."""
    options = ("--method", "--then", "--recipe")
    named = {
        part.partition("=")[0][2:]: part.partition("=")[2] or following
        for part, following in zip(argv, [*argv[1:], ""], strict=True)
        if part.partition("=")[0] in options
    }
    given = {key: name for key, name in named.items() if name and not name.startswith("--")}
    if not given.keys() & {"method", "recipe"}:
        return {}
    from .compression import chained_settings
    from .recipes import steps_of

    steps = steps_of(given.get("method"), given.get("then"), given.get("recipe"))
    return chained_settings([step.method for step in steps])
