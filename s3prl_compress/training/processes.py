"""Rank and device of a process started by `accelerate launch` or `torchrun`."""

from __future__ import annotations

import os

import torch


def rank_and_world_size() -> tuple[int, int]:
    """Return the rank of this process, counted from 0, and the number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Return whether this is the process that writes files."""
    return rank_and_world_size()[0] == 0


def local_device(device: torch.device) -> torch.device:
    """Return the device of this process; with several processes each has a GPU of its own."""
    if device.type == "cuda" and rank_and_world_size()[1] > 1:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return device
