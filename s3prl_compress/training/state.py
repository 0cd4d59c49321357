"""The saved state of a training run, from which it resumes exactly.

It consists of a safetensors file (weights and optimizer moments in full precision) and a JSON
file. It contains no state of random generators: batches and masks follow from the seed and the
number of the update.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ..common.errors import InputError
from ..common.files import folder_atomically

TENSORS_FILE = "state.safetensors"
FACTS_FILE = "state.json"


def save_state(folder: Path, model: nn.Module, optimizer: Optimizer, facts: dict[str, Any]) -> None:
    """Write the state to `folder` atomically, replacing an older one.

    Args:
        folder: folder of the state.
        model: model whose state dictionary is saved.
        optimizer: optimizer whose moments are saved.
        facts: further values for the JSON file.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with folder_atomically(folder) as temporary:
        save_file(stored, temporary / TENSORS_FILE)
        (temporary / FACTS_FILE).write_text(json.dumps(facts) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Return the `facts` that `save_state` was given; None if there is no saved state.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FACTS_FILE
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); delete {folder} to start again") from error
    assert isinstance(facts, dict)
    return facts


def load_state(folder: Path, model: nn.Module, optimizer: Optimizer) -> None:
    """Load a saved state into `model` and `optimizer`.

    Raises:
        InputError: the file is damaged, or is the state of another model.
    """
    path = folder / TENSORS_FILE
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete {folder}") from error
    try:
        model.load_state_dict(_below("model.", tensors))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _below("optimizer.", tensors).items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = tensor
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
    except (RuntimeError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: belongs to another model ({first}); delete {folder}") from error


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
