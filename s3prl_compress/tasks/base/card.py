"""`corpus.json`: the description of a corpus that `prepare` writes beside its recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...common.errors import InputError
from ...common.model_errors import first_mistake
from .corpus import CARD_FILE


class CorpusCard(BaseModel):
    """Content of a prepared corpus's `corpus.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["s3prl_compress.corpus"] = "s3prl_compress.corpus"
    version: Literal[1] = 1
    task: str = "ks"
    """Name of the task that it was prepared for."""
    variant: str
    """One of `Task.variants`."""
    name: str
    generated: bool
    """True: synthetic speech."""
    classes: tuple[str, ...]
    source: dict[str, str]
    """`table`: file name of the table it was prepared from; `sha256`: of it and its recordings."""
    labels: dict[str, str] = Field(default_factory=dict)
    """From classes to their names in the table, if the layout prescribes other names."""


def read_card(root: Path, task: str) -> CorpusCard:
    """Read `corpus.json` of a corpus prepared for a task; anything else is an `InputError`."""
    path = root / CARD_FILE
    try:
        card = CorpusCard.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = first_mistake(error) if isinstance(error, ValidationError) else error.strerror
        raise InputError(f"{path}: no corpus card of this version ({reason})") from error
    if card.task != task:
        raise InputError(
            f"{root}: a corpus for the task {card.task}, not for {task}; "
            f"give one that `prepare {task}` wrote"
        )
    return card
