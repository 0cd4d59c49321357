"""Shared by all benchmarks: print the machine, and write results with it to a JSON file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from s3prl_compress.common.files import write_atomically
from s3prl_compress.results.environment import environment


def write_result(output: Path | None, figures: Any, device: str = "cpu") -> None:
    """Print the machine; if `output` is given, write the figures and the environment to it."""
    where = environment(device)
    print(
        f"\n{where.machine}, {where.threads} threads, torch {where.packages['torch']}, {where.date}"
    )
    if output is not None:
        result = {
            "command": " ".join(["python", *sys.argv]),
            "environment": where.model_dump(),
            "figures": figures,
        }
        write_atomically(output, json.dumps(result, indent=2) + "\n")
        print(f"written: {output}")
