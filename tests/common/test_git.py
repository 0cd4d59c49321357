from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from s3prl_compress.common import git as checkout


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_an_environment_inside_another_checkout_has_no_commit_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / ".venv" / "checkout.py"
    installed.parent.mkdir()
    installed.write_text("")
    monkeypatch.setattr(checkout, "__file__", str(installed))
    assert checkout.git_state() == (None, None)
    _git(tmp_path, "init", "-q")
    (tmp_path / "theirs.txt").write_text("")
    _git(tmp_path, "add", "theirs.txt")
    _git(tmp_path, "commit", "-q", "-m", "theirs")
    assert checkout.git_state() == (None, None)
    _git(tmp_path, "add", str(installed))
    assert checkout.git_state() == (_git(tmp_path, "rev-parse", "HEAD"), True)
    _git(tmp_path, "commit", "-q", "-m", "ours")
    assert checkout.git_state() == (_git(tmp_path, "rev-parse", "HEAD"), False)
