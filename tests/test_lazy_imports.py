"""Torch, which takes seconds to import, is imported only by what computes."""

from __future__ import annotations

import subprocess
import sys

_FRESH_PROCESS = """
import contextlib, io, sys

import s3prl_compress

def without_torch(what):
    heavy = {"torch", "torchaudio", "transformers", "s3prl", "numpy", "pydantic"}
    found = heavy & sys.modules.keys()
    assert not found, f"{what} imports {found}"

without_torch("import s3prl_compress")
assert {"load", "compress", "score", "register"} <= set(dir(s3prl_compress))

from s3prl_compress.cli.app import COMMANDS, main

for arguments in (["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(arguments) == 0
    assert "s3prl-compress" in printed.getvalue(), arguments
    without_torch(" ".join(arguments))

# Whatever the compiled extension fits: the package has made torchaudio importable.
import torchaudio
assert callable(s3prl_compress.load)
assert "torch" in sys.modules
"""


def test_importing_the_package_and_asking_for_help_do_without_torch() -> None:
    command = [sys.executable, "-c", _FRESH_PROCESS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


_LOADED = """
import sys

from s3prl_compress.encoder import load
from s3prl_compress.suite import cell_runner

load("hubert_demo")
found = {"transformers", "accelerate", "s3prl", "torch._dynamo", "matplotlib"} & sys.modules.keys()
assert not found, f"a worker with an encoder has imported {found}"
"""


def test_a_worker_loads_an_encoder_without_transformers_and_without_torchs_compiler() -> None:
    """Both take longer to import than torch, in every worker process of a suite."""
    command = [sys.executable, "-c", _LOADED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
