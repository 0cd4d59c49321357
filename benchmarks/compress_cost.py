"""Cost of compression: seconds and peak memory of every method on random weights.

Each method runs in a process of its own, whose peak resident memory includes the given encoder, the
new one and the libraries. Prints a table and writes JSON.

    python benchmarks/compress_cost.py --output compress_cost.json
    python benchmarks/compress_cost.py --shape hubert_small
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import write_result

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "magnitude, weight, layer": ("magnitude", {"granularity": "weight"}),
    "magnitude, weight, global": ("magnitude", {"granularity": "weight", "scope": "global"}),
    "magnitude, channel, layer": ("magnitude", {}),
    "magnitude, channel, global": (
        "magnitude",
        {"scope": "global", "units": ["ffn", "qk", "vo", "conv"]},
    ),
    "clustering, fold, mixed": ("clustering", {}),
    "clustering, fold, uniform": ("clustering", {"allocation": "uniform"}),
    "clustering, fold, random start": ("clustering", {"start": "random"}),
    "clustering, share, mixed": ("clustering", {"form": "share"}),
    "low_rank, energy": ("low_rank", {}),
    "low_rank, uniform": ("low_rank", {"allocation": "uniform"}),
    "low_rank, energy, audio": ("low_rank", {"audio": "NOISE"}),
}
"""Method and settings by the name of a row; NOISE stands for a folder of generated noise."""


def main() -> None:
    """Run the cases one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", default="hubert_large", help="one of NAMED_SHAPES")
    parser.add_argument("--sparsity", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="rows whose names contain this")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(**json.loads(arguments.child))))
        return
    rows = []
    print(f"{'method':34}{'seconds':>9}{'cpu s':>9}{'peak GiB':>10}{'sparsity':>10}")
    for name, (method, settings) in CASES.items():
        if arguments.only and arguments.only not in name:
            continue
        job = {
            "shape": arguments.shape,
            "threads": arguments.threads,
            "method": method,
            "settings": {"sparsity": arguments.sparsity, **settings},
        }
        row = {"name": name, **job, **run_child(job)}
        rows.append(row)
        print(
            f"{name:34}{row['seconds']:9.1f}{row['processor_seconds']:9.1f}"
            f"{row['peak_bytes'] / 2**30:10.2f}{row['reached']:10.4f}",
            flush=True,
        )
    write_result(arguments.output, rows)


def run_child(job: dict[str, Any]) -> dict[str, Any]:
    """Run one case in a new process, which writes its progress bars to standard error."""
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(shape: str, threads: int, method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Compress a random encoder; return seconds, peak memory in bytes and the sparsity reached."""
    import torch
    from threadpoolctl import threadpool_limits

    from s3prl_compress.encoder import NAMED_SHAPES, random_encoder
    from s3prl_compress.encoder.cost import nonzero_parameters
    from s3prl_compress.methods import available, compress

    torch.set_num_threads(threads)
    available()  # the libraries' imports are no part of the time
    encoder = random_encoder(NAMED_SHAPES[shape])
    before = peak_bytes()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(threads):
        if "audio" in settings:
            settings = {**settings, "audio": make_noise(Path(folder))}
        start, processor = time.perf_counter(), time.process_time()
        smaller = compress(encoder, method, **settings)
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "processor_seconds": time.process_time() - processor,
        "peak_bytes": peak_bytes(),
        "peak_bytes_before": before,
        "reached": 1 - nonzero_parameters(smaller) / nonzero_parameters(encoder),
        "parameters": nonzero_parameters(encoder),
    }


def make_noise(folder: Path, seconds: int = 120, pieces: int = 12) -> Path:
    """Write `seconds` of noise as wav files; the cost does not depend on the content."""
    import numpy as np
    import soundfile

    generator = np.random.default_rng(0)
    for number in range(pieces):
        samples = generator.normal(scale=0.1, size=seconds * 16_000 // pieces)
        soundfile.write(folder / f"{number:02d}.wav", samples, 16_000)
    return folder


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
