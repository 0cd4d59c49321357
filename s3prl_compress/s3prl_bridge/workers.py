"""Worker processes of s3prl's data loaders."""

from __future__ import annotations

import multiprocessing

from ..common.errors import InputError


def fork_workers() -> None:
    """Make the data loaders of this process start their workers by fork, if the system has it.

    Only forked workers inherit the patches of s3prl's modules.
    """
    if "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork", force=True)


def last_line(error: InputError) -> str:
    """Return the message of an error that may come from a worker, which adds its traceback."""
    return str(error).strip().splitlines()[-1].rpartition("InputError: ")[2]
