"""The training loop: optimisation, logging, and exact resumption.

accelerate accumulates gradients, clips them and averages them over processes. Device and precision
are set here, because accelerate's are global: it would refuse other ones in a later run of the same
process. Its checkpoints are pickles, as are those of transformers' Trainer. This project writes no
pickles, so states are saved by `state`.

With several processes (started by `accelerate launch` or `torchrun`), gradients and logged
scalars are averaged over the processes. Only the first one writes; all must see the same folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from ..common.errors import InputError
from ..common.extras import require_extra
from .event_log import EventLog
from .settings import LoopSettings, ParamGroup, build_optimizer
from .state import load_state, read_facts, save_state

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

Scalars = dict[str, float]

STATE = "state"
"""Name of the folder, within that of a run, that holds its saved state."""


class Batches(Protocol):
    """A source of numbered batches; numbers make a run resumable."""

    def __call__(self, first: int) -> Iterator[dict[str, Any]]:
        """Yield the model's keyword arguments for batch `first`, `first` + 1, and so on."""


class Progress(BaseModel):
    """The progress and the history of a training run."""

    step: int = 0
    """Number of updates so far."""
    seconds: float = 0.0
    """Time spent in the loop up to the last saved state, over all starts of the run."""
    training: list[dict[str, float]] = []
    """One entry per `log_every` updates: step, learning_rate, gradient_norm, and the means of the
    model's scalars."""
    validation: list[dict[str, float]] = []
    """One entry per `checkpoint_every` updates: step and the scalars of the validation."""


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
    """Train `model` in place and return its history; resume if `folder` holds a saved state.

    Args:
        model: returns a dictionary of scalar tensors, of which `loss` is minimised.
        batches: source of batches, `settings.accumulation` of them per update. With several
            processes each has its own.
        settings: settings of the optimizer and the loop.
        folder: folder for `state/` (see the module `state`) and `tensorboard/`.
        rules: parameter groups with optimizer settings of their own.
        device: device to train on.
        validate: called with the model at every checkpoint, without gradients.
        identity: fingerprint of settings and data; a saved state with another one is refused.
        name: label of the progress bar.

    Raises:
        InputError: `folder` holds the state of another run, the loss is not finite, or the extra
            `train` is not installed.
    """
    require_extra("train", name)
    device = torch.device(device)
    accelerator = _accelerator(settings.accumulation, device)
    model.to(device).train()
    raw_optimizer = build_optimizer(model, settings, rules)
    progress = _resume(folder, model, raw_optimizer, identity)
    prepared, optimizer = accelerator.prepare(model, raw_optimizer)
    source = batches(progress.step * settings.accumulation)
    recent = _Means()
    started = time.monotonic() - progress.seconds
    main = accelerator.is_main_process
    log = closing(EventLog(folder / "tensorboard", progress.step)) if main else nullcontext()
    bar = tqdm(
        total=settings.steps, initial=progress.step, desc=name, unit="step", disable=not main
    )
    with log as writer, bar:
        while progress.step < settings.steps:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * settings.factor(progress.step)
            for batch in islice(source, settings.accumulation):
                recent.add(_learn(accelerator, prepared, optimizer, batch, device, settings))
            progress.step += 1
            bar.update()
            last = progress.step == settings.steps
            if last or progress.step % settings.log_every == 0:
                entry = recent.take(accelerator, device)
                entry |= {"learning_rate": settings.rate(progress.step - 1)}
                _log(entry, progress.step, progress.training, writer, "training")
                bar.set_postfix(_short(entry))
                _check_finite(entry, progress.step, name)
            if last or progress.step % settings.checkpoint_every == 0:
                if validate is not None:
                    with torch.no_grad(), _autocast(settings, device):
                        entry = validate(model)
                    _log(entry, progress.step, progress.validation, writer, "validation")
                progress.seconds = time.monotonic() - started
                if main:
                    facts = progress.model_dump() | {"identity": identity}
                    save_state(folder / STATE, model, raw_optimizer, facts)
    accelerator.wait_for_everyone()  # the next stage of any process may read the saved state
    return progress


def _learn(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: AcceleratedOptimizer,
    batch: dict[str, Any],
    device: torch.device,
    settings: LoopSettings,
) -> dict[str, Tensor]:
    """Accumulate the gradients of one batch; update the weights with the last one."""
    with accelerator.accumulate(model):
        with _autocast(settings, device):
            scalars = model(**batch)
        accelerator.backward(scalars["loss"].float())
        if accelerator.sync_gradients:
            norm = accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            scalars = scalars | {"gradient_norm": norm}
        optimizer.step()
        optimizer.zero_grad()
    return scalars


def _accelerator(accumulation: int, device: torch.device) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # that of this process, for communication with the others
    return Accelerator(
        # Only a launcher's processes need to know: it decides how they communicate.
        cpu=device.type == "cpu" and "WORLD_SIZE" in os.environ,
        device_placement=False,
        mixed_precision="no",
        gradient_accumulation_steps=accumulation,
        # Layers that the loss does not depend on have no gradients to wait for.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def _autocast(settings: LoopSettings, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")


def saved_progress(folder: Path, identity: str) -> Progress | None:
    """Return the progress of the run in `folder` at its last saved state; None if there is none.

    Raises:
        InputError: the saved state has another identity.
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
    progress = saved_progress(folder, identity)
    if progress is None:
        return Progress()
    load_state(folder / STATE, model, optimizer)
    return progress


class _Means:
    """Running means of scalars, accumulated without synchronising with the device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, scalars: dict[str, Tensor]) -> None:
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double()
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self, accelerator: Accelerator, device: torch.device) -> Scalars:
        """Return the means over all processes, and reset."""
        names = list(self.sums)
        means = torch.stack([self.sums[name].to(device) / self.counts[name] for name in names])
        means = accelerator.reduce(means, "mean")
        self.sums, self.counts = {}, {}
        return dict(zip(names, means.tolist(), strict=True))


def _log(
    entry: Scalars,
    step: int,
    history: list[dict[str, float]],
    writer: EventLog | None,
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
            f"{name}: {', '.join(bad)} is not finite at step {step}; start again in a new folder "
            "with a lower learning_rate or a longer warmup"
        )
