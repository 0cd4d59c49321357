"""The package that docs/extending.md shows: installed for real, and found by this package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from s3prl_compress.encoder import named_shape, random_encoder, save

TESTS = Path(__file__).parent
MODULES = (
    "methods/random_units.py",
    "tasks/example_task.py",
    "tasks/example_task.yaml",
    "report/slot_error_rate.py",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the example package is installed into, as pip would anywhere else."""
    source = tmp_path_factory.mktemp("example")
    package, target = source / "my_compression", source / "installed"
    package.mkdir()
    shutil.copy(TESTS / "example_package" / "pyproject.toml", source)
    (package / "__init__.py").write_text("")
    for name in MODULES:
        shutil.copy(TESTS / name, package)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "--target", target, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def run(installed: Path, code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_method_task_and_metric_are_found(installed: Path, tmp_path: Path) -> None:
    save(random_encoder(named_shape("hubert_tiny"), 0), tmp_path / "tiny")
    out = run(
        installed,
        "import json\n"
        "from s3prl_compress.cli import main\n"
        "from s3prl_compress.methods import available\n"
        "from s3prl_compress.statistics import find_metric\n"
        "from s3prl_compress.tasks.registry import available_tasks\n"
        f"folder = {str(tmp_path)!r}\n"
        "command = ['compress', folder + '/tiny', '--method', 'random_units', '--keep', '0.5']\n"
        "code = main([*command, '--output', folder + '/small', '--json'])\n"
        "settings, _ = available_tasks()['voices'].load_settings('smoke', 'onepass')\n"
        "print()\n"
        "print(json.dumps([code, available()['random_units'].summary, settings.total_steps,\n"
        "                  find_metric('slot error rate').label]))\n",
    )
    assert json.loads(out.strip().splitlines()[-1]) == [
        0,
        "Keep a random subset of the FFN units",
        60,
        "slot error rate (percent)",
    ]
    assert (tmp_path / "small" / "model.safetensors").is_file()
