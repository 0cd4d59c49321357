"""What may be written to, and computed on: found out before any work starts."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError


def check_folder_output(folder: str | Path) -> Path:
    """Return the folder if it is one, or can become one.

    Raises:
        InputError: a file is in the way.
    """
    folder = Path(folder)
    for part in (folder, *folder.parents):
        if part.exists():
            if not part.is_dir():
                raise InputError(f"{folder}: {part} is a file; choose another name")
            break
    return folder


def pick_device(device: str | None) -> str:
    """Return the device's name: the one given, or else cuda where there is one and cpu elsewhere.

    Raises:
        InputError: torch knows no such device, or finds none here.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InputError(
            f"device {device}: torch knows no such device; give cpu or cuda"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {device}: torch finds no CUDA device here; give cpu")
    return device


def check_threads(threads: int | None) -> int | None:
    """Return a number of CPU threads that can be used; None stands for torch's own choice.

    Raises:
        InputError: it is below 1.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads {threads}: must be at least 1")
    return threads


def use_threads(threads: int | None) -> None:
    """Set torch's number of CPU threads for the rest of the process, if one is given.

    Raises:
        InputError: it is below 1.
    """
    if threads is None:
        return
    check_threads(threads)
    import torch

    torch.set_num_threads(threads)
