"""One iteration of HuBERT's pre-training: targets, initial weights, training, checkpoint."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..audio import SAMPLING_RATE, AudioSet
from ..encoder import Provenance, SpeechEncoder, fingerprint, random_encoder, save
from ..training.batches import AudioBatches, Crop, split_files
from ..training.loop import Batches, Progress, Scalars, saved_progress, train
from ..training.masking import draw_masks
from ..training.settings import LoopSettings
from .objective import MaskedPrediction
from .recipe import Iteration, Recipe
from .targets import Targets, frame_features, load_targets, make_targets, save_targets


class IterationRun:
    """One iteration of a recipe, in a folder of its own.

    `passes` is the number of times that training goes over the audio.

    Args:
        recipe: the recipe.
        number: number of the iteration, counted from 1.
        iteration: settings of the iteration.
        audio: audio to train and validate on.
        folder: folder for targets, saved state, logs and the encoder.
        device: device to train on.
    """

    def __init__(
        self,
        recipe: Recipe,
        number: int,
        iteration: Iteration,
        audio: AudioSet,
        folder: Path,
        device: str,
    ) -> None:
        self.recipe, self.number, self.iteration = recipe, number, iteration
        self.audio, self.folder, self.device = audio, folder, device
        self.shape = recipe.model.shape()
        # A seed per iteration, so that crops and masks differ between iterations.
        self.seed = recipe.seed + 1000 * (number - 1)
        self.trained, self.held_out = split_files(
            len(audio.files), recipe.audio.validation_files, recipe.seed
        )
        self.batches = self._batches_of(self.trained)
        steps = iteration.loop.steps * iteration.loop.accumulation
        self.passes = round(steps / self.batches.per_pass, 2)

    def finish(self, previous: SpeechEncoder | None) -> tuple[SpeechEncoder, Progress]:
        """Train, or resume, to the end; write the encoder, and return it with its history.

        Args:
            previous: the encoder of the previous iteration; None in the first one.

        Raises:
            InputError: the folder holds a run with other settings or audio, or audio has changed
                while it was in use.
        """
        hashed = self.audio.hashed()
        identity = self._identity(previous)
        saved_progress(self.folder, identity)  # fails before it overwrites another run's targets
        targets = self._targets(previous, identity)
        encoder = self._start(previous)
        model = MaskedPrediction(encoder, targets.clusters, self.iteration.objective, self.seed)
        progress = train(
            model,
            self._inputs(targets.subset(self.trained)),
            self.iteration.loop,
            self.folder,
            device=self.device,
            validate=self._validation(targets.subset(self.held_out)) if self.held_out else None,
            identity=identity,
            name=f"iteration {self.number}",
        )
        hashed.check_unchanged()
        trained = model.encoder.cpu().eval()
        trained.provenance = self._provenance()
        save(trained, self.folder / "encoder")
        return trained, progress

    def _identity(self, previous: SpeechEncoder | None) -> str:
        """Return the fingerprint that a checkpoint and targets must match to be resumed."""
        settings = self.recipe.model_dump(mode="json", exclude={"iterations", "name"})
        for irrelevant in ("workers", "cache_in_memory"):
            settings["audio"].pop(irrelevant)
        iteration = self.iteration.model_dump(mode="json")
        iteration["loop"] = LoopSettings.with_former_names(iteration["loop"])
        before = None if previous is None else fingerprint(previous)
        facts = [settings, iteration, self.number, self.audio.fingerprint(), before]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _targets(self, previous: SpeechEncoder | None, identity: str) -> Targets:
        path = self.folder / "targets.safetensors"
        targets = load_targets(path, identity)
        if targets is None:
            settings = self.iteration.targets
            if previous is not None:
                previous.to(self.device)
            features = frame_features(settings, self.shape, previous)
            targets, means = make_targets(self.audio, features, settings, self.seed)
            save_targets(path, targets, means, identity)
        return targets

    def _start(self, previous: SpeechEncoder | None) -> SpeechEncoder:
        if self.iteration.start == "previous":
            assert previous is not None
            return copy.deepcopy(previous)
        return random_encoder(self.shape, self.seed, self.recipe.model.normalize)

    def _batches_of(self, files: Sequence[int]) -> AudioBatches:
        stride = self.shape.frame_stride
        settings = self.recipe.audio
        return AudioBatches(
            self.audio.subset(files),
            crop_samples=int(settings.crop_seconds * SAMPLING_RATE) // stride * stride,
            batch_samples=int(settings.batch_seconds * SAMPLING_RATE),
            seed=self.seed,
            alignment=stride,
        )

    def _inputs(self, targets: Targets) -> Batches:
        def inputs(first: int) -> Iterator[dict[str, Any]]:
            source = self.batches.iterate(first, self.recipe.audio.workers)
            for number, (crops, waveforms) in enumerate(source, start=first):
                yield self._arguments(crops, waveforms, targets, [self.seed, number])

        return inputs

    def _arguments(
        self, crops: list[Crop], waveforms: list[Tensor], targets: Targets, seed: list[int]
    ) -> dict[str, Any]:
        """Return the model's inputs for a batch, with masks drawn from `seed`."""
        counts = [self.shape.frames(crop.samples) for crop in crops]
        masks = draw_masks(counts, self.iteration.masks, np.random.default_rng(seed))
        wanted = [
            targets.crop(crop.file, crop.start, count, self.shape.frame_stride)
            for crop, count in zip(crops, counts, strict=True)
        ]
        padded = pad_sequence(wanted, batch_first=True, padding_value=-1)
        return {"waveforms": waveforms, "targets": padded, "masks": masks}

    def _validation(self, targets: Targets) -> Callable[[nn.Module], Scalars]:
        """Return a function that validates a model, with the same crops and masks every time."""
        batches = self._batches_of(self.held_out)

        def validate(model: nn.Module) -> Scalars:
            sums: dict[str, float] = {}
            total = 0
            source = batches.iterate()
            for number in range(batches.per_pass):
                crops, waveforms = next(source)
                arguments = self._arguments(crops, waveforms, targets, [self.seed, 1, number])
                count = int(arguments["masks"].sum())
                for name, value in model(**arguments).items():
                    sums[name] = sums.get(name, 0.0) + float(value) * count
                total += count
            return {name: value / total for name, value in sums.items()}

        return validate

    def _provenance(self) -> Provenance:
        """Return the provenance; the recipe and the history are in `pretraining.json`."""
        shape = self.shape
        return Provenance(
            base=f"{self.recipe.name} ({shape.family}, {len(shape.layers)} x {shape.hidden}, "
            f"pre-trained on {self.audio.seconds / 3600:.2f} h of audio, iteration {self.number}, "
            f"seed {self.recipe.seed})"
        )
