"""Click's parameters and help for plain functions.

The signature of a function gives names, types and defaults; its docstring gives the help.
Positional parameters become arguments, keyword-only parameters become options.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import click
from docstring_parser import Docstring, DocstringStyle, parse


class _Text(click.ParamType[str]):
    """Text. What looks like an option is taken for one whose predecessor lacks its value."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if isinstance(param, click.Option) and value.startswith("--"):
            self.fail(f"needs a value before {value}", param, ctx)
        return value


class _Choice(click.Choice[str]):
    """A choice whose help shows the values as they are, while "-" is accepted for "_"."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self.choices)}]"


class _YesNo(click.ParamType[bool]):
    """A boolean with a value, for options that have a default of their own if they are omitted."""

    name = "yes or no"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "[yes|no]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        try:
            return click.BOOL.convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither yes nor no.", param, ctx)


TEXT = _Text()
_TYPES: dict[Any, click.ParamType[Any]] = {
    str: TEXT,
    int: click.INT,
    float: click.FLOAT,
    bool: _YesNo(),
}


def option_name(name: str) -> str:
    """Return the option that sets the parameter `name`."""
    return "--" + name.replace("_", "-")


def parameters(function: Callable[..., Any]) -> list[click.Parameter]:
    """Return the arguments and options of a function, without those of its `**` parameter."""
    documented = {text.arg_name: text.description or "" for text in _docstring(function).params}
    return [
        _parameter(parameter, documented.get(parameter.name, ""))
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
        if parameter.kind != parameter.VAR_KEYWORD
    ]


def description(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the first line of the docstring, and all of its text before `Args:`."""
    docstring = _docstring(function)
    return docstring.short_description or "", docstring.description or ""


def _docstring(function: Callable[..., Any]) -> Docstring:
    return parse(inspect.getdoc(function) or "", DocstringStyle.GOOGLE)


def _parameter(parameter: inspect.Parameter, text: str) -> click.Parameter:
    option = option_name(parameter.name)
    if parameter.default is False:
        return click.Option([option], is_flag=True, help=text)
    attributes: dict[str, Any] = {"type": _click_type(parameter.annotation), "help": text}
    required = parameter.default is parameter.empty
    if required:
        attributes["required"] = True
    else:
        attributes["default"] = parameter.default
    if parameter.kind == parameter.KEYWORD_ONLY:
        return click.Option([option], **attributes)
    # Not the list of all choices, which click would break in the usage line.
    metavar = parameter.name.upper() if required else None
    return click.Argument([parameter.name], metavar=metavar, **attributes)


def _click_type(annotation: Any) -> click.ParamType[Any]:
    if annotation in _TYPES:
        return _TYPES[annotation]
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return _Choice(arguments)
    (some,) = (part for part in arguments if part is not types.NoneType)
    return _click_type(some)
