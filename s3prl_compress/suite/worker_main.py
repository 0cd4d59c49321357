"""The process that does cells: `python -m s3prl_compress.suite.worker_main RESULTS`.

RESULTS is the number of an open file descriptor. On its standard input come a `Plan` and then the
cells to do, a line of JSON for those that are done together, a list; their `CellResult`s go out in
the same way. When the input ends, because the process that asked is gone, this one and all that it
started end at once.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import NoReturn


def main(results: int) -> int:
    """Serve until the input ends; return the exit status."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    # Only now, since these take seconds: the end of the input must be noticed at any time.
    from .cell_runner import do_cells
    from .cells import CELLS
    from .plan import RESULTS, Plan

    plan = Plan.model_validate_json(lines.get())
    # Records say which command made them: the person's, not this process's.
    sys.argv = list(plan.command)
    with os.fdopen(results, "w", encoding="utf-8") as answers:
        while True:
            done = do_cells(plan, CELLS.validate_json(lines.get()))
            sys.stdout.flush()
            answers.write(RESULTS.dump_json(done).decode() + "\n")
            answers.flush()


def _listen(lines: queue.Queue[str]) -> NoReturn:
    for line in sys.stdin:
        lines.put(line)
    _end_all()


def _end_all() -> NoReturn:
    import psutil

    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(1)


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1])))
    except KeyboardInterrupt:
        sys.exit(130)
