"""Run plain functions as commands: parse arguments, print results, set exit codes.

The arguments of a command follow from the signature of its function: positional parameters become
positional arguments, keyword-only parameters become options, and the docstring becomes the help.
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
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from ..common.command_result import CommandResult, table
from ..common.errors import InputError
from ..common.method_config import RenamedSettingWarning
from ..version import __version__

PROGRAM = "s3prl-compress"
_TYPES = {"int": "a whole number", "float": "a number", "bool": "yes or no"}
TRACEBACK_VARIABLE = "S3PRL_COMPRESS_TRACEBACK"


@dataclass(frozen=True)
class Command:
    """A plain function that can be run from the command line."""

    function: Callable[..., CommandResult]
    examples: tuple[str, ...]
    extra: Callable[[Sequence[str]], dict[str, str]] = field(default=lambda argv: {})
    """Function from the arguments to the names and help texts of further options. Their values are
    passed on as strings, as further keyword arguments."""
    tasks: Sequence[str] | None = None
    """For a command with an argument `task`: the values that it accepts beside the registered
    tasks. The help lists all of them."""


def run_command(commands: Mapping[str, Command], argv: Sequence[str]) -> int:
    """Run a command and return its exit code; 2 for invalid input, 130 after Ctrl-C."""
    show_traceback = "--traceback" in argv or bool(os.environ.get(TRACEBACK_VARIABLE))
    try:
        with _renamings_on_stderr():
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
            "\nstopped; run the same command again to resume from what is already written",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        # The reader (such as `head`) has closed the pipe; Python's flush at exit must not fail.
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
    # Standard output is for the result alone; whatever libraries print goes to standard error.
    with contextlib.redirect_stdout(sys.stderr):
        result = command.function(**given)
    if as_json:
        print(json.dumps(result.data, indent=2))
        print(*result.next_steps, sep="\n", end="\n" if result.next_steps else "", file=sys.stderr)
    else:
        print(*filter(None, (result.text, *result.next_steps)), sep="\n")
    sys.stdout.flush()
    return result.exit_code


@contextlib.contextmanager
def _renamings_on_stderr() -> Iterator[None]:
    """Print each warning about a renamed setting once, as one line; Python hides them."""
    printed: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedSettingWarning)
        show_others = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], *arguments: Any, **more: Any
        ) -> None:
            if not issubclass(category, RenamedSettingWarning):
                show_others(message, category, *arguments, **more)
            elif str(message) not in printed:
                printed.add(str(message))
                print(f"warning: {message}", file=sys.stderr)

        warnings.showwarning = show
        yield


class _Parser(ArgumentParser):
    """A parser whose errors are one line, without the usage."""

    extra: Mapping[str, str] = {}

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = _plain(" ".join(message.split()))
        if self.extra and text.startswith("unrecognized"):
            shown = [name for name, text in self.extra.items() if text != argparse.SUPPRESS]
            options = (f"--{name.replace('_', '-')}" for name in shown)
            text += f"; this method takes {', '.join(options)}"
        raise InputError(f"{text}; see `{self.prog} --help`") from ex


def _plain(text: str) -> str:
    """Rewrite jsonargparse's message about a wrong value without Python's types."""
    text = re.sub(r'^Parser key "(\w+)": ', r"\1: ", text)
    # The type of an optional option includes None, which a user cannot type.
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
    """A formatter that keeps the line breaks of the examples and shows only telling defaults."""

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
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument(
        "--traceback", action="store_true", help="print the traceback of an error, for debugging"
    )
    helps = _documented(command.function)
    if command.tasks is not None:
        helps["task"] += f" ({', '.join((*_task_names(), *command.tasks))})"
    for action in parser._actions:
        # jsonargparse substitutes `%(default)s` only, so percent signs need no escaping.
        action.help = helps.get(action.dest, action.help)
        if action.metavar == "{true,false,null}":
            action.metavar = "{yes,no}"  # the parser accepts these as well
        # Shown with dashes; the parser itself knows them with underscores.
        action.option_strings = [name.replace("_", "-") for name in action.option_strings]
    return parser


def _task_names() -> list[str]:
    # Imported here: only the help of a command with a task needs them.
    from ..tasks.registry import available_tasks

    return list(available_tasks())


def _add(
    parser: _Parser, function: Callable[..., CommandResult], parameter: inspect.Parameter
) -> None:
    """Add the argument of one parameter; jsonargparse takes its type from the signature."""
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
    """Return the help text of each parameter from the section `Args:` of a docstring."""
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
    """Replace dashes in an option's name by underscores, so that users may type either."""
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
            "Compress speech encoders, score them on SUPERB tasks and measure their speed.",
            "",
            table(lines),
            "",
            f"`{PROGRAM} COMMAND --help` shows the options of a command with examples.",
        ]
    )
