"""From an argument list to a plain function and back to a terminal: parsing, printing, exit codes.

The functions themselves are in `cli`. What each one takes is read off its signature: positional
parameters are positional arguments, keyword-only ones are options, and its docstring is its help.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from ..common.command_result import CommandResult, table
from ..common.errors import InputError
from ..version import __version__

PROGRAM = "s3prl-compress"
_TYPES = {"int": "a whole number", "float": "a number", "bool": "yes or no"}
TRACEBACK_VARIABLE = "S3PRL_COMPRESS_TRACEBACK"


@dataclass(frozen=True)
class Command:
    """A plain function as a command."""

    function: Callable[..., CommandResult]
    examples: tuple[str, ...]
    extra: Callable[[Sequence[str]], dict[str, str]] = field(default=lambda argv: {})
    """Names and help of further options that depend on the arguments so far; their texts reach
    the function as they were typed, as further keyword arguments."""
    tasks: Sequence[str] | None = None
    """For a command with an argument `task`: values that it takes beside the registered tasks. The
    help lists all of them."""


def run(commands: Mapping[str, Command], argv: Sequence[str]) -> int:
    """Run one command and return the exit code: its own, 2 for bad input, 130 after Ctrl-C."""
    show_traceback = "--traceback" in argv or bool(os.environ.get(TRACEBACK_VARIABLE))
    try:
        return _run_one(commands, argv)
    except InputError as error:
        if show_traceback:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if show_traceback:
            traceback.print_exc()
        print(
            "\nstopped; the same command goes on from what is already written",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        # The reader (`head`, say) has gone; Python's own flush at the exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run_one(commands: Mapping[str, Command], argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "--version"):
        version = argv and argv[0] == "--version"
        print(f"{PROGRAM} {__version__}" if version else _overview(commands), flush=True)
        return 0
    name, rest = argv[0], [_with_underscores(part) for part in argv[1:]]
    if name not in commands:
        raise InputError(f"no command {name!r}; there are: {', '.join(commands)}")
    command = commands[name]
    extra = command.extra(rest)
    parser = _parser(name, command, extra)
    options = parser.parse_args(rest).as_dict()
    as_json, _ = options.pop("json"), options.pop("traceback")
    given = {key: value for key, value in options.items() if key not in extra or value is not None}
    # Whatever libraries print must not get between the figures.
    with contextlib.redirect_stdout(sys.stderr):
        answer = command.function(**given)
    if as_json:
        print(json.dumps(answer.data, indent=2))
        print(*answer.next_steps, sep="\n", end="\n" if answer.next_steps else "", file=sys.stderr)
    else:
        print(*filter(None, (answer.text, *answer.next_steps)), sep="\n")
    sys.stdout.flush()
    return answer.exit_code


class _Parser(ArgumentParser):
    """Errors are one line, without the usage before it."""

    extra: Mapping[str, str] = {}

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = _plain(" ".join(message.split()))
        if self.extra and text.startswith("unrecognized"):
            options = (f"--{name.replace('_', '-')}" for name in self.extra)
            text += f"; this method takes {', '.join(options)}"
        raise InputError(f"{text}; see `{self.prog} --help`") from ex


def _plain(text: str) -> str:
    """Say what jsonargparse says of a wrong value without Python's types."""
    text = re.sub(r'^Parser key "(\w+)": ', r"\1: ", text)
    # Where an option may be left out, None is among its types; nobody can type that.
    text = re.sub(r"Does not validate .*? Errors: - (.*?) - .* Given (value: )", r"\1 Got \2", text)
    text = re.sub(
        r"Expected a typing\.Literal\[(.*?)\]",
        lambda m: "must be one of " + m[1].replace("'", ""),
        text,
    )
    text = re.sub(
        r"Expected a <class '(\w+)'>", lambda m: f"must be {_TYPES.get(m[1], m[1])}", text
    )
    return re.sub(r"\.? Got value: ", "; got ", text)


class _Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the examples' lines; says what an option takes only where that is news."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if any(action.default is nothing for nothing in (None, False, argparse.SUPPRESS)):
            return text
        return f"{text} (default: {action.default})"


def _parser(name: str, command: Command, extra: Mapping[str, str]) -> _Parser:
    description = (inspect.getdoc(command.function) or "").split("\nArgs:")[0].strip()
    examples = "\n".join(f"  {PROGRAM} {line}" for line in command.examples)
    parser = _Parser(
        prog=f"{PROGRAM} {name}",
        description=description,
        epilog=f"example{'s' if len(command.examples) > 1 else ''}:\n{examples}",
        formatter_class=_Formatter,
    )
    parser.extra = extra
    for parameter in inspect.signature(command.function).parameters.values():
        _add(parser, command.function, parameter)
    for option, text in extra.items():
        parser.add_argument(f"--{option}", type=str, default=None, help=text)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    helps = _documented(command.function)
    if command.tasks is not None:
        helps["task"] += f" ({', '.join((*_task_names(), *command.tasks))})"
    for action in parser._actions:
        # jsonargparse takes `%(default)s` only, so a percent sign needs no care.
        action.help = helps.get(action.dest, action.help)
        if action.metavar == "{true,false,null}":
            action.metavar = "{yes,no}"  # the parser takes these, too
        # As people type them; the parser itself knows them with underscores.
        action.option_strings = [name.replace("_", "-") for name in action.option_strings]
    return parser


def _task_names() -> list[str]:
    # Imported here: only the help of a command with a task needs them.
    from ..tasks.registry import available_tasks

    return list(available_tasks())


def _add(
    parser: _Parser, function: Callable[..., CommandResult], parameter: inspect.Parameter
) -> None:
    """Add the argument of one parameter; jsonargparse reads its type off the signature."""
    if parameter.kind == parameter.VAR_KEYWORD:
        return
    if parameter.default is False:
        parser.add_argument(f"--{parameter.name}", action="store_true")
    elif parameter.kind != parameter.KEYWORD_ONLY and parameter.default is None:
        parser.add_argument(parameter.name, nargs="?", type=str)
    else:
        names = inspect.signature(function).parameters
        others: set[str | int] = {name for name in names if name != parameter.name}
        positional = parameter.kind != parameter.KEYWORD_ONLY
        parser.add_function_arguments(
            function, as_group=False, as_positional=positional, skip=others
        )


def _documented(function: Callable[..., Any]) -> dict[str, str]:
    """Return what a docstring says in `Args:` about each parameter."""
    helps: dict[str, str] = {}
    name = ""
    _, _, section = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    for line in section.splitlines():
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            helps[name] = start[2]
        elif name and line.startswith(" " * 8):
            helps[name] += " " + line.strip()
    return helps


def _with_underscores(part: str) -> str:
    """Let options be typed with dashes or with underscores."""
    if not part.startswith("--"):
        return part
    option, equals, value = part[2:].partition("=")
    return f"--{option.replace('-', '_')}{equals}{value}"


def _overview(commands: Mapping[str, Command]) -> str:
    lines = []
    for name, command in commands.items():
        lines.append((f"  {name}", (inspect.getdoc(command.function) or "").split("\n")[0]))
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND ...",
            "",
            "Make a speech encoder smaller, score it on SUPERB tasks through s3prl, and time it.",
            "",
            table(lines),
            "",
            f"`{PROGRAM} COMMAND --help` shows a command's options and an example.",
        ]
    )
