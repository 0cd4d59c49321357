"""The worker process that runs cells: `python -m s3prl_compress.suite.worker_main RESULTS`.

RESULTS is the number of an open file descriptor. The process reads lines of JSON from its standard
input: first a `SuitePlan`, then one list of cells for each batch. For each batch it writes a list
of `CellResult`s to RESULTS. When the input ends, because the parent is gone, this process kills
everything that it has started and exits.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import NoReturn

from ..common.termination import stop_once


def main(results: int) -> int:
    """Run batches until the input ends; never returns normally."""
    stop_once()
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    # Imported only now, because this takes seconds: the thread above must notice the end of the
    # input at any time.
    from .cell_runner import run_cells
    from .cells import CELLS
    from .plan import RESULTS, SuitePlan

    plan = SuitePlan.model_validate_json(lines.get())
    # Records store the command that made them, which is the user's and not this process's.
    sys.argv = list(plan.command)
    with os.fdopen(results, "w", encoding="utf-8") as output:
        while True:
            outcome = run_cells(plan, CELLS.validate_json(lines.get()))
            sys.stdout.flush()
            output.write(RESULTS.dump_json(outcome).decode() + "\n")
            output.flush()


def _listen(lines: queue.Queue[str]) -> NoReturn:
    # Not through `sys.stdin`, whose buffer is locked while a thread waits for a line: a process
    # that is forked meanwhile, as those that decode audio are, closes it and would wait forever.
    line = b""
    while block := os.read(0, 1 << 16):
        *whole, line = (line + block).split(b"\n")
        for text in whole:
            lines.put(text.decode())
    _kill_all()


def _kill_all() -> NoReturn:
    import psutil

    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(1)


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1])))
    except KeyboardInterrupt:
        sys.exit(130)
