"""s3prl's Runner, seeded, resumable and quiet. Imports s3prl: only in the child process."""

from __future__ import annotations

import importlib
import json
import os
import random
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..common.errors import InputError
from ..common.files import file_atomically

_module: Any = importlib.import_module("s3prl.downstream.runner")
_save = torch.save


def seed_everything(seed: int) -> None:
    """Seed every generator that s3prl draws from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # CUDA's too


def arguments(
    *,
    upstream: str,
    checkpoint: str | None,
    padding: str | None,
    downstream: str,
    folder: Path,
    seed: int,
    device: str,
) -> Namespace:
    """Return what s3prl's command line would make of its flags.

    Plain values only: they go into every checkpoint.
    """
    return Namespace(
        mode="train", evaluate_split="test", override=None, backend="nccl", local_rank=None,
        past_exp=None, init_ckpt=None, config=None, downstream=downstream,
        downstream_variant=None, hub="torch", upstream=upstream, upstream_ckpt=checkpoint,
        upstream_model_config=padding, upstream_refresh=False, upstream_trainable=False,
        upstream_feature_selection="hidden_states", upstream_layer_selection=None,
        upstream_feature_normalize=False, upstream_model_name="model.pt", upstream_revision=None,
        expname=None, expdir=str(folder), auto_resume=False, push_to_hf_hub=False,
        hf_hub_org=None, seed=seed, device=device, cache_dir=None, verbose=False,
        disable_cudnn=False,
    )  # fmt: skip


class SeededRunner(_module.Runner):
    """s3prl's Runner whose runs follow from the seed, whatever the upstream.

    Args:
        args: from `arguments`; `init_ckpt` names a checkpoint to resume from.
        config: s3prl's experiment config.
    """

    def __init__(self, args: Namespace, config: dict[str, Any]) -> None:
        seed_everything(args.seed)
        super().__init__(args, config)
        if not self.step:
            # Some experts seed torch themselves: every seed would start from the same head.
            self._initialise_head()
        # A resumed run must not draw the first batches once more.
        seed_everything(args.seed + self.step)

    @property
    def step(self) -> int:
        """Step of the checkpoint whose weights are loaded; 0 without one."""
        return int(self.init_ckpt.get("Step", 0))

    @property
    def total_steps(self) -> int:
        """Updates that `train` brings the head to."""
        return int(self.config["runner"]["total_steps"])

    def evaluate(self, split: str, logger: Any, global_step: int) -> list[str]:
        """Evaluate as s3prl does (seeded alike each time), and give training its draws back."""
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
        names = super().evaluate(split, logger, global_step)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        return list(names)

    def test(self, split: str, step: int) -> Mapping[str, list[Any]]:
        """Evaluate a split and return what s3prl's expert recorded of it, utterance by utterance.

        s3prl's own files of predictions cannot be read back safely: names and classes in them are
        separated by blanks, and may hold some.
        """
        expert = self.downstream.model
        log_records = expert.log_records
        kept: dict[str, list[Any]] = {}

        def keep(split: str, records: Mapping[str, list[Any]], **others: Any) -> Any:
            kept.update(records)
            return log_records(split, records=records, **others)

        expert.log_records = keep
        try:
            self.evaluate(split, Recorder(self.args.expdir), step)
        finally:
            expert.log_records = log_records
        return kept

    def load_head(self, checkpoint: Path) -> int:
        """Take weighted sum and head from a checkpoint; return its step."""
        self.init_ckpt = torch.load(checkpoint, map_location="cpu", weights_only=True)
        for entry in (self.featurizer, self.downstream):
            self._load_weight(entry.model, entry.name)
        return int(self.init_ckpt["Step"])

    def _get_upstream(self) -> Any:
        devices = [] if self.args.device == "cpu" else [torch.device(self.args.device)]
        with torch.random.fork_rng(devices=devices):
            return super()._get_upstream()

    def _initialise_head(self) -> None:
        seed_everything(self.args.seed)
        for module in self.downstream.model.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()


class Recorder:
    """Takes the place of tensorboard's writer: every metric goes to one line of JSON."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / "metrics.jsonl"

    def add_scalar(self, name: str, value: Any, global_step: int = 0) -> None:
        """Append one value."""
        line = json.dumps({"step": global_step, "name": name, "value": float(value)})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def close(self) -> None:
        """Nothing is held open."""


class _Progress(tqdm):
    """s3prl's progress bars, without bars: the overall step goes to a small file."""

    path: Path
    nowhere = open(os.devnull, "w")  # noqa: SIM115  # for the life of the process

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._overall = kwargs.get("desc") == "overall"
        self._written = 0.0
        # Runner counts its steps by this bar: disabled (TQDM_DISABLE) it would never end.
        super().__init__(*args, **kwargs | {"file": self.nowhere, "disable": False})

    def update(self, n: float | None = 1) -> bool | None:
        if self._overall and time.monotonic() - self._written > 0.3:
            self._written = time.monotonic()
            self.path.write_text(str(int(self.n + (n or 0))), encoding="ascii")
        return super().update(n)


def quieten(progress: Path) -> None:
    """Replace s3prl's bars and its tensorboard writer, and make its checkpoints atomic.

    A batch that does not fit on the GPU is an `InputError`: s3prl would skip it, and loop for ever
    if none fits.
    """
    _Progress.path = progress
    _module.tqdm = _Progress
    _module.SummaryWriter = Recorder
    _module.print = _print
    setattr(torch, "save", _save_atomically)  # noqa: B010  # s3prl calls it by this name


def _print(*values: Any, **options: Any) -> None:
    text = " ".join(str(value) for value in values)
    if "CUDA out of memory" in text:
        raise InputError(f"{text}: take a smaller batch_size, or a GPU with more memory")
    print(*values, **options)


def _save_atomically(value: Any, path: str, *args: Any, **kwargs: Any) -> None:
    with file_atomically(Path(path)) as temporary:
        _save(value, str(temporary), *args, **kwargs)
