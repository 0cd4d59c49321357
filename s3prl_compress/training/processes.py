"""Which of several processes this is, where `accelerate launch` or `torchrun` started them."""

from __future__ import annotations

import os

import torch


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's number, counted from 0, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Say whether this process is the one that writes."""
    return rank_and_world_size()[0] == 0


def local_device(device: torch.device) -> torch.device:
    """Return the device of this process: each of several has a GPU of its own."""
    if device.type == "cuda" and rank_and_world_size()[1] > 1:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return device
