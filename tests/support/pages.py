"""Commands, Python and files that documents show, so that tests can run them as they stand there.

- Blocks marked `console` or `bash` are run line by line: those lines that start with
  `s3prl-compress`, in their order, since later ones use what earlier ones wrote.
- Blocks marked `python` are run in the same order, all of a page in one namespace.
- Blocks of a MyST `code-block` with a `:caption:` are files: they are written under that name.
- Blocks marked `text`, `py` or not at all need a download or change the machine, and are not run.
- Workflows in `yaml` blocks are parsed, and their steps that start with `s3prl-compress` are run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml

from s3prl_compress.cli import app as cli
from s3prl_compress.encoder import named_shape, random_encoder, save

TESTS = Path(__file__).parents[1]
PROGRAM = "s3prl-compress "

# What a command names in a document, and what a test gives it: the same path, in less time.
SUBSTITUTES = {
    r"(?<![\w./])hubert_demo(?![\w.])": "tiny",
    r"--recipe (smoke|official)": f"--recipe {TESTS / 'quick.yaml'}",
    r"run (recipes/demo.yaml|demo)(?= |$)": f"run {TESTS / 'small_suite.yaml'}",
    r"--repeats \d+": "--repeats 3",
    r"--utterances-per-bucket \d+": "--utterances-per-bucket 1",
    r"--seeds 0-9": "--seeds 0-2",
    # Barely trained heads of a tiny model: their loss has a wide interval.
    r"--margin \S+": "--margin 90",
}

Kind = Literal["command", "python", "file"]

_BLOCK = re.compile(r"^(`{3,})(.*?)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_CAPTION = re.compile(r"(?:^:[\w-]+:.*\n)*?^:caption: *(\S+)\n(?:^:[\w-]+:.*\n)*\n?", re.MULTILINE)


def steps(text: str) -> Iterator[tuple[Kind, str, str]]:
    """Yield what a document shows, in its order: a kind, a file's name (or ""), the content."""
    for _, info, body in _BLOCK.findall(text):
        language = info.strip()
        if language in ("console", "bash"):
            for line in body.replace("\\\n", " ").splitlines():
                line = line.strip().removeprefix("$ ").partition("  #")[0]
                if line.startswith(PROGRAM):
                    yield "command", "", line
        elif language == "python":
            yield "python", "", body
        elif language.startswith("{code-block}") and (caption := _CAPTION.match(body)):
            yield "file", caption[1], body[caption.end() :]


def commands(text: str) -> list[str]:
    """Return the lines of console and bash blocks that call our program."""
    return [content for kind, _, content in steps(text) if kind == "command"]


def workflow_commands(text: str) -> list[str]:
    """Return the lines of the workflows' steps that call our program."""
    found = []
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        # PyYAML follows YAML 1.1, which takes the key `on` for a truth value.
        loaded = yaml.safe_load(block)
        jobs = loaded.get("jobs", {}) if isinstance(loaded, dict) else {}
        for job in jobs.values():
            runs = [line for step in job["steps"] for line in step.get("run", "").splitlines()]
            found += [line for line in runs if line.startswith(PROGRAM)]
    return found


def quick(line: str) -> str:
    """Return a command or some Python with tiny models and short training."""
    for pattern, substitute in SUBSTITUTES.items():
        line = re.sub(pattern, substitute, line)
    if " --recipe " not in line and line.split()[1:2] in (["score"], ["check"]):
        line += "" if "--task ctc" in line else f" --recipe {TESTS / 'quick.yaml'}"
        line += " --seeds 0-2" if " check " in line and "--seeds" not in line else ""
    if line.startswith(f"{PROGRAM}time "):
        line += "" if "--repeats" in line else " --repeats 3"
        line += "" if "--utterances-per-bucket" in line else " --utterances-per-bucket 1"
    return line


def run_command(line: str) -> int:
    """Run a command of a document in this process, and return its exit code."""
    return cli.main(shlex.split(quick(line))[1:])


def run_page(text: str, folder: Path) -> None:
    """Run a whole document in `folder`, which is the current one."""
    save(random_encoder(named_shape("hubert_tiny"), 0), folder / "tiny")
    namespace: dict[str, Any] = {}
    for kind, name, content in steps(text):
        if kind == "command":
            assert run_command(content) == 0, content
        elif kind == "python":
            exec(compile(quick(content), "<page>", "exec"), namespace)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
