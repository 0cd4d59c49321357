"""The README's commands run as they stand there.

Blocks marked `console` or `bash` are run line by line in an empty folder: those lines that start
with `s3prl-compress`, in their order, since later ones use what earlier ones wrote. Blocks marked
`text`, or not at all, need a download or change the machine, and are not run. Workflows in `yaml`
blocks are parsed, and their steps that start with `s3prl-compress` are run as well.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from s3prl_compress.cli import app as cli
from s3prl_compress.encoder import named_shape, random_encoder, save

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"

# What a command names in the README, and what the test gives it: the same path, in less time.
SUBSTITUTES = {
    "--recipe smoke": f"--recipe {Path(__file__).parent / 'quick.yaml'}",
    "run recipes/demo.yaml": f"run {Path(__file__).parent / 'small_suite.yaml'}",
    "run demo": f"run {Path(__file__).parent / 'small_suite.yaml'}",
}


def commands(text: str) -> list[str]:
    """Return the lines of console and bash blocks that call our program."""
    found = []
    for block in re.findall(r"^```(?:console|bash)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ").partition("  #")[0]
            if line.startswith("s3prl-compress "):
                found.append(line)
    return found


def workflow_commands(text: str) -> list[str]:
    """Return the lines of the workflows' steps that call our program."""
    found = []
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        # PyYAML follows YAML 1.1, which takes the key `on` for a truth value.
        for job in yaml.safe_load(block).get("jobs", {}).values():
            runs = [line for step in job["steps"] for line in step.get("run", "").splitlines()]
            found += [line for line in runs if line.startswith("s3prl-compress ")]
    return found


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


def test_the_commands_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = commands(README.read_text(encoding="utf-8"))
    assert {line.split()[1] for line in lines} >= {"compress", "score", "time", "report"}
    for line in lines:
        for given, substitute in SUBSTITUTES.items():
            line = line.replace(given, substitute)
        assert cli.main(shlex.split(line)[1:]) == 0, f"{line}\n{capsys.readouterr().err}"


def test_the_workflow_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a tiny model and barely trained heads, whose loss has a wide interval."""
    monkeypatch.chdir(tmp_path)
    save(random_encoder(named_shape("hubert_tiny"), 0), tmp_path / "tiny")
    quick = f"--margin 90 --recipe {Path(__file__).parent / 'quick.yaml'}"
    lines = workflow_commands(README.read_text(encoding="utf-8"))
    assert [line.split()[1] for line in lines] == ["compress", "check"]
    for line in lines:
        small = re.sub(r"--margin \S+", quick, line.replace("hubert_demo", "tiny"))
        assert cli.main(shlex.split(small)[1:]) == 0, f"{small}\n{capsys.readouterr().err}"
    assert "passed: the loss is below 90 points" in capsys.readouterr().out
