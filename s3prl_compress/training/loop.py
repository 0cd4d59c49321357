"""The training loop: accelerate places the model, casts, accumulates and clips; the rest is here.

accelerate's own checkpoints are pickles, and so are those of transformers' Trainer; this project
writes none, so the state goes through `state`.

In several processes (started by `accelerate launch` or `torchrun`) gradients and logged scalars
are means over the processes, and only the first one writes; the folder must be seen by all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from pydantic import BaseModel
from tensorboardX import SummaryWriter
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from ..common.errors import InputError
from .settings import LoopSettings, ParamGroup, build_optimizer
from .state import load_state, read_facts, save_state

Scalars = dict[str, float]

STATE = "state"
"""Folder of a run's checkpoint within its own."""


class Batches(Protocol):
    """Batches by number: what makes a run resumable."""

    def __call__(self, first: int) -> Iterator[dict[str, Any]]:
        """Yield the model's keyword arguments for batch `first`, then `first` + 1, ..."""


class Progress(BaseModel):
    """How far a run has come, and what it measured on the way."""

    step: int = 0
    seconds: float = 0.0
    """Spent in the loop up to the last checkpoint, over all of its starts."""
    training: list[dict[str, float]] = []
    """Every `log_every` steps: step, learning_rate, gradient_norm, and means of the scalars."""
    validation: list[dict[str, float]] = []
    """Every `checkpoint_every` steps: step and the scalars."""


def train(
    model: nn.Module,
    batches: Batches,
    settings: LoopSettings,
    folder: Path,
    *,
    rules: Sequence[ParamGroup] = (),
    device: str | torch.device = "cpu",
    validate: Callable[[nn.Module], Scalars] | None = None,
    identity: str = "",
    name: str = "training",
) -> Progress:
    """Train `model` in place and return its history; a run that was begun in `folder` goes on.

    Args:
        model: returns a dictionary of scalar tensors, of which `loss` is minimised.
        batches: see `Batches`; one per micro-batch. In several processes each calls its own.
        settings: of the optimiser.
        folder: gets `state/` (see `state`) and `tensorboard/`.
        rules: for parameters that learn at a rate of their own.
        device: where to train.
        validate: called with the model at every checkpoint, without gradients.
        identity: of settings and data; a state of another identity is refused.
        name: stands beside the progress bar.

    Raises:
        InputError: `folder` holds the state of another run, or the loss is no number any more.
    """
    accelerator = _accelerator(settings, torch.device(device))
    model.to(accelerator.device).train()
    raw_optimizer = build_optimizer(model, settings, rules)
    progress = _resume(folder, model, raw_optimizer, identity)
    prepared, optimizer = accelerator.prepare(model, raw_optimizer)
    source = batches(progress.step * settings.accumulation)
    recent = _Means()
    started = time.monotonic() - progress.seconds
    main = accelerator.is_main_process
    bar = tqdm(
        total=settings.steps, initial=progress.step, desc=name, unit="step", disable=not main
    )
    with _writer(folder, progress.step) if main else nullcontext() as writer, bar:
        while progress.step < settings.steps:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * settings.factor(progress.step)
            for batch in islice(source, settings.accumulation):
                recent.add(_learn(accelerator, prepared, optimizer, batch, settings.max_grad_norm))
            progress.step += 1
            bar.update()
            last = progress.step == settings.steps
            if last or progress.step % settings.log_every == 0:
                entry = recent.take(accelerator)
                entry |= {"learning_rate": settings.rate(progress.step - 1)}
                _log(entry, progress.step, progress.training, writer, "training")
                bar.set_postfix(_short(entry))
                _check_finite(entry, progress.step, name)
            if last or progress.step % settings.checkpoint_every == 0:
                if validate is not None:
                    with torch.no_grad(), accelerator.autocast():
                        entry = validate(model)
                    _log(entry, progress.step, progress.validation, writer, "validation")
                progress.seconds = time.monotonic() - started
                if main:
                    facts = progress.model_dump() | {"identity": identity}
                    save_state(folder / STATE, model, raw_optimizer, facts)
    accelerator.wait_for_everyone()  # whoever goes on may read what was written
    accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)  # without autocast, as it came
    return progress


def _writer(folder: Path, step: int) -> closing[SummaryWriter]:
    return closing(SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1))


def _learn(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: AcceleratedOptimizer,
    batch: dict[str, Any],
    max_grad_norm: float,
) -> dict[str, Tensor]:
    """Take the gradients of one batch, and a step with the last batch of an accumulation."""
    with accelerator.accumulate(model):
        scalars = model(**batch)
        accelerator.backward(scalars["loss"])
        if accelerator.sync_gradients:
            norm = accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
            scalars = scalars | {"gradient_norm": norm}
        optimizer.step()
        optimizer.zero_grad()
    return scalars


def _accelerator(settings: LoopSettings, device: torch.device) -> Accelerator:
    # accelerate keeps one state per process and refuses another precision or device later on.
    AcceleratorState._reset_state(reset_partial_state=True)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # accelerate takes the current one
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=settings.precision,
        gradient_accumulation_steps=settings.accumulation,
        # A layer that the loss does not look at has no gradients to wait for.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def begun(folder: Path, identity: str) -> Progress | None:
    """Return how far the run in `folder` had come at its last checkpoint; None if there is none.

    Raises:
        InputError: the run there has another identity.
    """
    facts = read_facts(folder / STATE)
    if facts is None:
        return None
    if facts.pop("identity") != identity:
        raise InputError(
            f"{folder}: holds a run with other settings or audio; give another output folder, or "
            "delete this one to start again"
        )
    return Progress.model_validate(facts)


def _resume(folder: Path, model: nn.Module, optimizer: Optimizer, identity: str) -> Progress:
    progress = begun(folder, identity)
    if progress is None:
        return Progress()
    load_state(folder / STATE, model, optimizer)
    return progress


class _Means:
    """Means of scalars since they were last taken; no synchronisation with the device between."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, scalars: dict[str, Tensor]) -> None:
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double()
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self, accelerator: Accelerator) -> Scalars:
        """Return the means, over all processes, and start anew."""
        names = list(self.sums)
        place = accelerator.device
        means = torch.stack([self.sums[name].to(place) / self.counts[name] for name in names])
        means = accelerator.reduce(means, "mean")
        self.sums, self.counts = {}, {}
        return dict(zip(names, means.tolist(), strict=True))


def _log(
    entry: Scalars,
    step: int,
    history: list[dict[str, float]],
    writer: SummaryWriter | None,
    group: str,
) -> None:
    history.append({"step": step} | entry)
    if writer is None:
        return
    for name, value in entry.items():
        writer.add_scalar(f"{group}/{name}", value, step)


def _short(entry: Scalars) -> dict[str, str]:
    shown = ("loss", "distillation", "masked_loss", "accuracy", "sparsity", "target")
    return {name: f"{entry[name]:.3f}" for name in shown if name in entry}


def _check_finite(entry: Scalars, step: int, name: str) -> None:
    bad = [key for key, value in entry.items() if not torch.isfinite(torch.tensor(value))]
    if bad:
        raise InputError(
            f"{name}: {', '.join(bad)} is no finite number at step {step}; the last checkpoint is "
            "sound: start again in a new folder with a lower learning_rate or a longer warm-up"
        )
