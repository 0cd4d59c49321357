"""What every process that works on a suite is told."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from .cells import Cell, needs
from .recipe import Suite


class Plan(BaseModel):
    """A suite with everything that the command line added to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: Suite
    output: Path
    device: str | None
    """None: cuda where there is one, else the CPU, as the process that works finds it."""
    threads: int | None
    command: tuple[str, ...]
    """The command line of the run: it goes into every record."""

    @property
    def upstreams(self) -> Path:
        """Folder of the checkpoints that the suite makes."""
        return self.output / "upstreams"

    @property
    def records(self) -> Path:
        """Folder of the records, all that the report reads."""
        return self.output / "records"

    @property
    def corpora(self) -> Path:
        """Folder of the corpora that the suite prepares from tables."""
        return self.output / "corpora"

    @property
    def logs(self) -> Path:
        """Folder of a log per cell, of the last time that it was worked on."""
        return self.output / "logs"


class CellResult(BaseModel):
    """How a cell ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    state: Literal["done", "before", "failed"]
    """before: it was complete already, and was not done again."""
    words: str
    """What came out, or why it failed, in one line."""
    details: str = ""
    """Of a failure: the traceback, or the last lines of the log."""
    seconds: float = Field(default=0.0, ge=0)
    """Of cells that were done together, each has the same share."""
    random_weights: bool = False
    worn: bool = False
    """True: the process must not be used for another cell."""


RESULTS = TypeAdapter(tuple[CellResult, ...])
"""Results to and from JSON."""


def without_upstream(
    suite: Suite, cells: Sequence[Cell], missing: Container[str]
) -> list[CellResult] | None:
    """Return the failures of cells of one upstream, if what they need could not be made."""
    for name in needs(suite, cells[0]):
        if name in missing:
            words = f"upstream {name} could not be made"
            return [CellResult(title=cell.title, state="failed", words=words) for cell in cells]
    return None
