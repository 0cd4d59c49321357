"""Starting the child process, watching it, and reporting its errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

from ..common.errors import InputError
from ..common.files import write_atomically
from .child import ChildResult, ChildTask, read_result

_LAST_LINES = 15
_SECONDS = 0.3


def run_child(folder: Path, task: ChildTask, title: str) -> ChildResult:
    """Return the result in the folder, or start a child process that writes it.

    Args:
        folder: of this run alone.
        task: one that asks for a test is not satisfied by a result without.
        title: of the progress bar.

    Raises:
        InputError: what the child says of wrong input.
        RuntimeError: it ended in another way; the end of its log.
    """
    found = read_result(folder)
    if found is not None and (found.predictions is not None or not task.test):
        return found
    write_atomically(folder / "task.json", task.model_dump_json(indent=1) + "\n")
    for name in ("error.txt", "progress"):
        (folder / name).unlink(missing_ok=True)
    log = folder / "child.log"
    status = _run(folder, log, title, task.config["runner"]["total_steps"])
    result = read_result(folder)
    if status != 0 or result is None:
        raise _failure(folder, log, status)
    return result


def _run(folder: Path, log: Path, title: str, total: int) -> int:
    module = f"{__package__}.child"
    command = [sys.executable, "-m", module, str(folder), str(os.getpid())]
    # Threads that spin while they wait slow small steps down on a busy machine.
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            _watch(process, folder / "progress", title, total)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return process.returncode


def _watch(process: subprocess.Popen[bytes], progress: Path, title: str, total: int) -> None:
    """Show one bar until the child ends."""
    with tqdm(total=total, desc=title, unit="step", file=sys.stderr, delay=1) as bar:
        while True:
            try:
                process.wait(timeout=_SECONDS)
                return
            except subprocess.TimeoutExpired:
                text = progress.read_text() if progress.is_file() else ""
                if text.isdigit():
                    bar.update(int(text) - bar.n)


def _failure(folder: Path, log: Path, status: int) -> Exception:
    message = folder / "error.txt"
    if message.is_file():
        return InputError(message.read_text("utf-8").strip())
    lines = log.read_text("utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    ending = f"signal {-status}" if status < 0 else f"status {status}"
    return RuntimeError(
        f"s3prl's runner ended with {ending}; the end of {log}:\n" + "\n".join(lines)
    )
