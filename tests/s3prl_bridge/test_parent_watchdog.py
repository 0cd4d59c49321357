from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from s3prl_compress.s3prl_bridge import parent_watchdog


def test_a_child_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    # Only this one file: the package's imports take longer than all the rest.
    child = (
        f"import sys, time; sys.path.insert(0, {str(Path(parent_watchdog.__file__).parent)!r}); "
        "import os, pathlib, parent_watchdog; parent_watchdog.end_with_parent(int(sys.argv[1])); "
        f"pathlib.Path({str(tmp_path / 'id')!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    parent = (
        "import os, pathlib, subprocess, sys, time; "
        f"subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())]); "
        f"found = pathlib.Path({str(tmp_path / 'id')!r})\n"
        "while not (found.is_file() and found.read_text()): time.sleep(0.02)"
    )
    subprocess.run([sys.executable, "-c", parent], check=True, timeout=60)
    started = int((tmp_path / "id").read_text())
    deadline = time.monotonic() + 30
    while _alive(started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(started)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # Gone, but not yet collected by whoever inherited it.
    status = Path(f"/proc/{process}/stat")
    return not (status.is_file() and status.read_text().rpartition(")")[2].split()[0] == "Z")
