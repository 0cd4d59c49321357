"""Where and with what a number is measured: the `Environment` of a record."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from ..common.git import git_state
from .records import Environment


def environment(device: str) -> Environment:
    """Describe the machine, the packages and the project's commit, for a record."""
    import torch

    from ..common.linear_kernels import linear_kernels
    from ..common.precision import uses_tf32

    packages, (commit, dirty) = _software()
    return Environment(
        machine=(torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()),
        device=device,
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        packages=dict(packages),
        git_commit=commit,
        git_dirty=dirty,
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        tf32=uses_tf32() if device.startswith("cuda") else None,
        linears=linear_kernels() if device == "cpu" else None,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv[0] else "",
    )


@cache  # a suite asks for it with every record, and git takes longer than writing one
def _software() -> tuple[dict[str, str], tuple[str | None, bool | None]]:
    """Return the versions of packages and the commit that this process runs."""
    names = ("torch", "torchaudio", "s3prl", "transformers", "numpy", "s3prl_compress")
    return {name: _version(name) for name in names}, git_state()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"
