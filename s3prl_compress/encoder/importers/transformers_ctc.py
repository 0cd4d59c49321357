"""The CTC head of a transformers folder, with its vocabulary."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from ...common.errors import InputError
from ..head import CTCHead
from .imported import ctc_head
from .reading import read_json


def read_head(
    heads: dict[str, Tensor], config: dict[str, Any], hidden: int, folder: Path
) -> CTCHead | None:
    """Return the head with its vocabulary, or None if the folder lacks one of them.

    Args:
        heads: tensors of `lm_head`; empty for models without a head.
        config: content of config.json.
        hidden: width of the encoder.
        folder: folder of vocab.json.

    Raises:
        InputError: head, vocabulary and configuration contradict each other.
    """
    if not heads:
        return None
    if set(heads) != {"weight", "bias"}:
        raise InputError(f"{folder}: lm_head has {sorted(heads)} instead of weight and bias")
    if not (folder / "vocab.json").is_file():
        warnings.warn(
            f"{folder} has a CTC head but no vocab.json, so the head is not imported", stacklevel=2
        )
        return None
    vocabulary = _vocabulary(folder, heads["bias"].numel())
    blank = config.get("pad_token_id", 0)  # transformers' CTC blank
    if not isinstance(blank, int) or not 0 <= blank < len(vocabulary):
        raise InputError(
            f"{folder}/config.json: pad_token_id, the CTC blank, is {blank!r}; the vocabulary has "
            f"{len(vocabulary)} symbols"
        )
    where = f"{folder}: lm_head"
    return ctc_head(heads["weight"], heads["bias"], hidden, vocabulary, blank, where)


def _vocabulary(folder: Path, size: int) -> tuple[str, ...]:
    """Return the symbols of `vocab.json` and `added_tokens.json`, in the order of their indices."""
    numbers = read_json(folder / "vocab.json")
    if (folder / "added_tokens.json").is_file():
        numbers.update(read_json(folder / "added_tokens.json"))
    if not all(isinstance(number, int) for number in numbers.values()):
        raise InputError(
            f"{folder}/vocab.json is not a table from symbols to indices (several languages?)"
        )
    symbols = {number: symbol for symbol, number in numbers.items()}
    if sorted(symbols) != list(range(size)) or len(symbols) != len(numbers):
        raise InputError(
            f"{folder}/vocab.json numbers {len(numbers)} symbols; the CTC head has {size} outputs"
        )
    return tuple(symbols[number] for number in range(size))
