"""Worker processes of s3prl's data loaders."""

from __future__ import annotations

import multiprocessing

from ..common.errors import InputError


def fork_workers() -> None:
    """Let the data loaders of this process start their workers by fork, where there is fork.

    What was changed in s3prl's modules for this run is there in forked workers only.
    """
    if "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork", force=True)


def last_line(error: InputError) -> str:
    """Return the message of an error that may come from a worker, which adds its traceback."""
    return str(error).strip().splitlines()[-1].rpartition("InputError: ")[2]
