"""Processes that begin with slow imports behind them: forks of one that has made them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_SERVER = """
import json, os, sys, traceback

replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
exec(sys.argv[1])
for line in sys.stdin:
    code, folder, *outputs = json.loads(line)
    process = os.fork()
    if process == 0:
        os.chdir(folder)
        for number, output in enumerate(outputs, 1):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        status = 1
        try:
            exec(code, {})
            status = 0
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), file=replies, flush=True)
"""


class ForkServer:
    """Runs Python code, each time in a process of its own.

    Args:
        imports: code that the process runs of which these are forks.
    """

    def __init__(self, imports: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, imports],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # s3prl counts its steps by a progress bar: without bars it must end all the same.
            env=os.environ | {"TQDM_DISABLE": "1"},
        )

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def run(self, code: str, folder: Path, output: Path, errors: Path) -> int:
        """Run `code` in `folder`, append what it prints to two files, and return its status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = [code, *map(str, (folder, output, errors))]
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())
