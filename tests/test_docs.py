"""The documentation: its commands and Python run, and it mentions everything there is.

Whether its links lead somewhere is checked by `make docs`, where every warning is an error.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from s3prl_compress.cli.app import COMMANDS
from s3prl_compress.methods import available
from s3prl_compress.tasks.registry import available_tasks

from .support.pages import commands, run_command, run_page, steps, workflow_commands
from .support.tables import speaker_rows, write_table

DOCS = Path(__file__).parents[1] / "docs"
TEXTS = {
    path.relative_to(DOCS).as_posix(): path.read_text("utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts
}


def test_the_parser_finds_commands() -> None:
    text = (
        "```console\n$ s3prl-compress ls tasks  # what there is\nls\n```\n"
        "```text\ns3prl-compress ls no\n```\n"
        "```bash\ns3prl-compress inspect \\\n  hubert_base\n```\n"
    )
    assert [line.split() for line in commands(text)] == [
        ["s3prl-compress", "ls", "tasks"],
        ["s3prl-compress", "inspect", "hubert_base"],
    ]


def test_the_parser_finds_the_steps_of_workflows() -> None:
    text = (
        "```yaml\nlearning_rates: [1.0]\n```\n"
        "```yaml\non: push\njobs:\n  one:\n    steps:\n      - uses: a/b@v4\n"
        "      - run: pip install x\n      - run: |\n          s3prl-compress ls tasks\n```\n"
    )
    assert workflow_commands(text) == ["s3prl-compress ls tasks"]


def test_the_parser_finds_python_and_files_in_their_order() -> None:
    text = (
        "```python\nx = 1\n```\n```py\nno\n```\n"
        "```{code-block} yaml\n:caption: a/b.yaml\n\nkey: value\n```\n"
        "```{code-block} yaml\nno: file\n```\n"
        "```console\ns3prl-compress ls tasks\n```\n"
    )
    assert list(steps(text)) == [
        ("python", "", "x = 1\n"),
        ("file", "a/b.yaml", "key: value\n"),
        ("command", "", "s3prl-compress ls tasks"),
    ]


@pytest.fixture
def own_files(tmp_path: Path) -> None:
    """The table of recordings that a reader of own_models_and_corpora.md has."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    write_table(folder, speaker_rows(folder))


@pytest.mark.parametrize("page", [name for name, text in TEXTS.items() if any(steps(text))])
def test_what_a_page_shows_runs(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    if page == "own_models_and_corpora.md":
        request.getfixturevalue("own_files")
    if page == "language_models.md":
        pytest.importorskip("kenlm", reason="the extra lm is not installed")
    run_page(TEXTS[page], tmp_path)


@pytest.mark.parametrize("page", [name for name, text in TEXTS.items() if workflow_commands(text)])
def test_workflows_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page("", tmp_path)
    for line in workflow_commands(TEXTS[page]):
        assert run_command(line) == 0, line


def test_every_command_method_and_task_is_mentioned() -> None:
    text = "\n".join(TEXTS.values())
    assert [name for name in COMMANDS if f"s3prl-compress {name}" not in text] == []
    assert [name for name in available() if f"`{name}`" not in text] == []
    assert [name for name in available_tasks() if f"`{name}`" not in text] == []
