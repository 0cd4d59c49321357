"""Checks of outputs, devices and threads, to be made before any work starts."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InputError

MAX_THREADS = 1024
"""Most CPU threads that can be asked for; torch aborts where the system cannot start so many."""


def check_folder_output(folder: str | Path) -> Path:
    """Return the folder if files can be written there, or it can be created.

    Raises:
        InputError: it, or a folder above it, is a file or cannot be written.
    """
    folder = Path(folder)
    for part in (folder, *folder.parents):
        if part.exists():
            if not part.is_dir():
                raise InputError(f"{folder}: {part} is a file; choose another name")
            if not os.access(part, os.W_OK | os.X_OK):
                raise InputError(
                    f"{folder}: {part} cannot be written (read-only, or of another user); choose "
                    "another folder"
                )
            break
    return folder


def pick_device(device: str | None) -> str:
    """Return `device`, or if it is None, "cuda" if it is available and else "cpu".

    Raises:
        InputError: torch does not know the device, or it is not available.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InputError(f"device {device}: unknown to torch; give cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {device}: torch finds no CUDA device on this machine; give cpu")
    return device


def check_threads(threads: int | None) -> int | None:
    """Return the number of CPU threads if it is valid; None stands for torch's default.

    Raises:
        InputError: it is below 1 or above `MAX_THREADS`.
    """
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise InputError(f"threads {threads}: must be from 1 to {MAX_THREADS}")
    return threads


def use_threads(threads: int | None) -> None:
    """Set torch's number of CPU threads for the rest of the process, unless it is None.

    Raises:
        InputError: as for `check_threads`.
    """
    if threads is None:
        return
    check_threads(threads)
    import torch

    torch.set_num_threads(threads)
