"""The README's commands run as they stand there; see `support.pages`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from s3prl_compress.encoder import named_shape, random_encoder, save

from .support.pages import commands, run_command

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_is_linked_is_there(page: str) -> None:
    """In a clean clone: what git ignores is there for nobody else."""
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert local or page != "README.md"
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_the_method_of_contributing_is_the_one_that_is_tested() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (method,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert method == (ROOT / "tests" / "methods" / "random_units.py").read_text("utf-8")


def test_the_commands_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = commands(README.read_text(encoding="utf-8"))
    assert {line.split()[1] for line in lines} >= {"compress", "score", "time"}
    save(random_encoder(named_shape("hubert_tiny"), 0), tmp_path / "tiny")
    for line in lines:
        assert run_command(line) == 0, f"{line}\n{capsys.readouterr().err}"
