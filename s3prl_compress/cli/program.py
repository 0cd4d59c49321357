"""The program as click's group of commands, each made from a plain function."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from ..common.command_result import CommandResult
from ..version import __version__
from .parameters import TEXT, description, option_name, parameters

PROGRAM = "s3prl-compress"


@dataclass(frozen=True)
class Command:
    """A plain function that can be run from the command line."""

    function: Callable[..., CommandResult]
    examples: tuple[str, ...]
    further_options: Callable[..., Mapping[str, str | None]] | None = None
    """A function that returns the names and help texts of further options; an option whose text is
    None is left out of the help. Its parameters are options of the command, on whose values the
    further ones depend. Their values are passed on as strings, as further keyword arguments."""
    further_of: str = "method"
    """Word for what the further options belong to, for messages."""
    lists_tasks: bool = False
    """Whether the help of the parameter `task` lists the registered tasks."""


class Program(click.Group):
    """All commands, in the given order, with an overview as their help."""

    def __init__(self, commands: Mapping[str, Command]) -> None:
        super().__init__(
            commands={name: _FunctionCommand(name, command) for name, command in commands.items()},
            help="Compress speech encoders, score them on SUPERB tasks and measure their speed.",
            epilog=f"`{PROGRAM} COMMAND --help` shows a command's options with examples.",
            subcommand_metavar="COMMAND ...",
            context_settings={
                "help_option_names": ["-h", "--help"],
                "show_default": True,
                # Users may type underscores for dashes.
                "token_normalize_func": lambda name: name.replace("_", "-"),
            },
        )
        click.version_option(__version__, message="%(prog)s %(version)s")(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the given order, which is not click's alphabetical one."""
        return list(self.commands)


class _FunctionCommand(click.Command):
    """A function as a command."""

    def __init__(self, name: str, command: Command) -> None:
        summary, text = description(command.function)
        examples = (f"  {PROGRAM} {example}" for example in command.examples)
        title = "Example:" if len(command.examples) == 1 else "Examples:"
        super().__init__(
            name,
            callback=self._run,
            params=parameters(command.function),
            short_help=summary,
            help=text,
            epilog="\n".join(("\b", title, *examples)),  # \b keeps line breaks
        )
        self.command = command
        self.further: Mapping[str, str | None] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Add the options that depend on `args`, and parse them.

        Not done in the constructor, because it takes slow imports that other commands do without.
        """
        self.further = self._further_options(args)
        for name, text in self.further.items():
            option = [option_name(name)]
            self.params.append(
                click.Option(option, type=TEXT, metavar="VALUE", help=text, hidden=text is None)
            )
        self.params += [_json_flag(), _traceback_flag()]
        if self.command.lists_tasks:
            self._list_tasks()
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def _further_options(self, args: list[str]) -> Mapping[str, str | None]:
        if self.command.further_options is None:
            return {}
        # Reads the options that count, and leaves the others and all mistakes to the full parser.
        reader = click.Command(
            None,
            params=parameters(self.command.further_options),
            add_help_option=False,
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )
        with reader.make_context(None, list(args), resilient_parsing=True) as context:
            return self.command.further_options(**context.params)

    def _list_tasks(self) -> None:
        from ..tasks.registry import task_names

        (task,) = (parameter for parameter in self.params if parameter.name == "task")
        task.help = f"{task.help} ({', '.join(task_names())})"

    def _run(self, json: bool, **options: Any) -> int:
        given = {
            key: value
            for key, value in options.items()
            if key not in self.further or value is not None
        }
        # Standard output is for the result alone; whatever libraries print goes to standard error.
        with contextlib.redirect_stdout(sys.stderr):
            result = self.command.function(**given)
        _print(result, as_json=json)
        return result.exit_code


def _json_flag() -> click.Option:
    return click.Option(["--json"], is_flag=True, help="print the result as one JSON object")


def _traceback_flag() -> click.Option:
    # The caller looks for it in the arguments, which may be too wrong to be parsed.
    text = "print the traceback of an error, for debugging"
    return click.Option(["--traceback"], is_flag=True, expose_value=False, help=text)


def _print(result: CommandResult, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.data, indent=2))
        print(*result.next_steps, sep="\n", end="\n" if result.next_steps else "", file=sys.stderr)
    else:
        print(*filter(None, (result.text, *result.next_steps)), sep="\n")
    sys.stdout.flush()


def wording(error: click.UsageError) -> str:
    """Return what is wrong with a command line and how to fix it, in one line."""
    context = error.ctx
    assert context is not None
    command = context.command
    if isinstance(error, click.exceptions.NoSuchCommand) and isinstance(command, click.Group):
        names = command.list_commands(context)
        return f"no command {error.command_name!r}; there are: {', '.join(names)}"
    if isinstance(error, click.MissingParameter):
        text = f"missing: {', '.join(_missing(context))}"
    elif isinstance(error, click.NoSuchOption):
        text = f"no option {error.option_name}; {_known_options(command)}"
    else:
        text = error.format_message().rstrip(".")
        text = text[:1].lower() + text[1:]
    return f"{text}; see `{context.command_path} --help`"


def _missing(context: click.Context) -> list[str]:
    """Return all that is missing, where click's own message has only the first."""
    return [
        parameter.get_error_hint(context)
        for parameter in context.command.params
        if parameter.required
        and context.get_parameter_source(parameter.name) != ParameterSource.COMMANDLINE
    ]


def _known_options(command: click.Command) -> str:
    if isinstance(command, _FunctionCommand) and command.further:
        names = [option_name(name) for name, text in command.further.items() if text is not None]
        return f"this {command.command.further_of} takes {', '.join(names)}"
    names = [one.opts[0] for one in command.params if isinstance(one, click.Option)]
    return f"there are {', '.join(names)}"
