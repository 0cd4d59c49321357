"""The wheel that `make dist` would build: its content, and how it works without a clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICK = Path(__file__).parent / "quick.yaml"
PACKAGES = {
    "s3prl_compress": "s3prl_compress",
    "upstreams": "s3prl_compress/upstreams",
    "recipes": "s3prl_compress/recipes",
}
"""Where the wheel has the files of these folders."""
MEGABYTES = 30
"""The wheel is smaller than this; almost all of it is the demo corpus and the demo's weights."""

SMOKE = """
import sys
import s3prl_compress
from s3prl_compress import cli
assert s3prl_compress.__file__.startswith(sys.prefix), s3prl_compress.__file__
for line in sys.argv[1:]:
    if cli.main(line.split()):
        sys.exit(f"failed: {line}")
"""


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked_files() -> list[str]:
    """Return the files of the clone that git does not ignore, relative to its root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = run(*("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), cwd=ROOT)
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, which is built from a copy of the clone."""
    pytest.importorskip("build", reason="`build` is not installed")
    folder = tmp_path_factory.mktemp("dist")
    for name in tracked_files():
        if not name.startswith("tests/"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
    # Not from the root, where `build` would be a folder.
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder / "source"),
        cwd=folder,
    )
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    expected = {
        f"{PACKAGES[top]}/{rest}"
        for top, _, rest in (name.partition("/") for name in tracked_files())
        if top in PACKAGES
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == expected
    assert {Path(name).name for name in metadata} >= {"LICENSE", "NOTICE", "METADATA"}
    assert wheel.stat().st_size < MEGABYTES * 2**20


def test_the_wheel_works_without_a_clone(wheel: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    python = venv / "bin" / "python"
    purelib = run(
        *(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"), cwd=tmp_path
    )
    # Paths in a .pth file are not searched for further ones, by which this project is installed.
    sites = [path for path in sys.path if Path(path).name == "site-packages"]
    (Path(purelib.strip()) / "libraries.pth").write_text("\n".join(sites) + "\n")
    run(
        *(sys.executable, "-m", "pip", "--python", python),
        *("install", "--no-deps", "--no-index", "--no-compile", wheel),
        cwd=tmp_path,
    )
    away = tmp_path / "away"
    away.mkdir()
    assert "hubert_demo" in run(venv / "bin" / "s3prl-compress", "ls", "upstreams", cwd=away)
    commands = (
        "compress hubert_demo --method clustering --sparsity 0.3 --output small",
        "random hubert_tiny --output tiny",
        "ls recipes",
        f"score tiny --task ks --data {tiny_corpus} --recipe {QUICK} --output results",
    )
    run(python, "-c", SMOKE, *commands, cwd=away)
    assert len(list((away / "results").glob("*.json"))) == 1
