"""Run a command line: exit codes, errors and warnings as single lines on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from ..common.errors import InputError, RenamedSettingWarning
from ..common.files import refusal_to_write
from ..common.termination import Terminated, terminable
from .program import PROGRAM, Command, Program, wording

TRACEBACK_VARIABLE = "S3PRL_COMPRESS_TRACEBACK"


def run_command(commands: Mapping[str, Command], argv: Sequence[str]) -> int:
    """Run a command and return its exit code.

    2 for invalid input, 130 after Ctrl-C, 143 after SIGTERM.
    """
    show_traceback = "--traceback" in argv or bool(os.environ.get(TRACEBACK_VARIABLE))
    try:
        with _renamings_on_stderr(), terminable():
            return _run_one(commands, argv)
    except InputError as error:
        return _report(error, show_traceback)
    except KeyboardInterrupt as stop:
        if show_traceback:
            traceback.print_exc()
        print(
            "\nstopped; run the same command again to resume from what is already written",
            file=sys.stderr,
        )
        return 143 if isinstance(stop, Terminated) else 130
    except BrokenPipeError:
        # The reader (such as `head`) has closed the pipe; Python's flush at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        refusal = refusal_to_write(error)
        if refusal is None:
            raise
        return _report(refusal, show_traceback)


def _report(error: InputError, show_traceback: bool) -> int:
    if show_traceback:
        traceback.print_exc()
    print(f"error: {error}", file=sys.stderr)
    return 2


def _run_one(commands: Mapping[str, Command], argv: Sequence[str]) -> int:
    program = Program(commands)
    # Not click's `main()`, which handles Ctrl-C and closed pipes in its own way.
    try:
        with program.make_context(PROGRAM, list(argv) or ["--help"]) as context:
            code: int = program.invoke(context)
            return code
    except click.exceptions.Exit as finished:
        return finished.exit_code
    except click.UsageError as error:
        raise InputError(wording(error)) from error


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
