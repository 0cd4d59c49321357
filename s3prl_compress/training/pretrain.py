"""HuBERT's pre-training: iterations of clustering frames and predicting the masked ones.

    python -m s3prl_compress.training.pretrain RECIPE.yaml --data AUDIO --output DIR

The output folder holds, per iteration, `iteration_N/{targets.safetensors, state, tensorboard,
encoder}`; and `encoder` (the last one), `loss.png` and `pretraining.json`. The same command goes
on where it was stopped.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from .. import console
from ..encoder import (
    SAMPLING_RATE,
    Provenance,
    SpeechEncoder,
    fingerprint,
    random_encoder,
    save,
)
from ..files import write_atomically
from ..outputs import check_checkpoint_output, check_folder_output, pick_device, use_threads
from ..reporting.records import environment
from .audio import AudioBatches, AudioSet, Crop, open_audio, split_files
from .curve import draw_curves
from .loop import Batches, Progress, Scalars, begun, train
from .masking import draw_masks
from .objective import MaskedPrediction
from .recipe import Iteration, Recipe, load_recipe
from .targets import Targets, frame_features, load_targets, make_targets, save_targets

_CURVES = {"masked_loss": "cross entropy, masked frames", "accuracy": "accuracy, masked frames"}


def pretrain(
    recipe: str,
    *,
    data: str,
    output: str,
    device: str | None = None,
    threads: int | None = None,
) -> console.Answer:
    """Pre-train a small HuBERT from scratch on untranscribed speech.

    A run that was stopped goes on from its last checkpoint, to the same weights.

    Args:
        recipe: YAML file, such as recipes/pretrain/hubert_demo.yaml
        data: folder of wav, flac or ogg files, 16 kHz mono, or a csv table with a column `file`
        output: folder for the checkpoint, the loss curve and everything to resume from
        device: where to train; cuda where there is one, else cpu
        threads: CPU threads
    """
    use_threads(threads)
    place, folder = pick_device(device), check_folder_output(output)
    check_checkpoint_output(folder / "encoder")
    settings = load_recipe(recipe)
    audio = open_audio(data, minimum_samples=settings.model.shape().minimum_samples)
    figures = run_recipe(settings, audio, folder, place)
    last = figures["iterations"][-1]
    return console.Answer(
        figures,
        f"{settings.name}: {len(settings.iterations)} iterations over "
        f"{audio.seconds / 3600:.2f} h of audio; masked frames of training: "
        f"loss {last['masked_loss']:.3f}, accuracy {last['accuracy']:.1%}",
        (
            f"checkpoint: {folder / 'encoder'}",
            f"curve: {folder / 'loss.png'}; tensorboard --logdir {folder}",
            f"next: s3prl-compress score {folder / 'encoder'} --task ks --data DIR",
        ),
    )


def run_recipe(recipe: Recipe, audio: AudioSet, folder: Path, device: str) -> dict[str, Any]:
    """Run all iterations of `recipe` on `audio`, write everything below `folder`, return figures.

    Raises:
        InputError: `folder` holds a run with other settings or audio, or the audio is unusable.
    """
    if recipe.audio.hold:
        audio = audio.hold()
    encoder: SpeechEncoder | None = None
    histories, figures = {}, []
    for number, iteration in enumerate(recipe.iterations, start=1):
        run = _Run(recipe, number, iteration, audio, folder / f"iteration_{number}", device)
        encoder, progress = run.finish(encoder)
        histories[f"iteration {number}: {iteration.targets.kind}"] = progress
        figures.append(
            {
                "targets": iteration.targets.model_dump(),
                "steps": progress.step,
                "passes": run.passes,
                "seconds": round(progress.seconds, 1),
                **progress.training[-1],
                "validation": progress.validation[-1] if progress.validation else None,
            }
        )
    assert encoder is not None
    save(encoder, folder / "encoder")
    draw_curves(histories, folder / "loss.png", _CURVES)
    result = {
        "name": recipe.name,
        "output": str(folder / "encoder"),
        "checkpoint_sha256": fingerprint(encoder),
        "audio_seconds": round(audio.seconds, 1),
        "audio_files": len(audio.files),
        "environment": environment(device).model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "iterations": figures,
    }
    for place in (folder, folder / "encoder"):  # the folder that is published carries it, too
        write_atomically(place / "pretraining.json", json.dumps(result, indent=2) + "\n")
    return result


class _Run:
    """One iteration."""

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
        # Iterations differ in their crops and masks, too.
        self.seed = recipe.seed + 1000 * (number - 1)
        self.trained, self.held_out = split_files(
            len(audio.files), recipe.audio.validation_files, recipe.seed
        )
        self.batches = self._batches_of(self.trained)
        steps = iteration.loop.steps * iteration.loop.accumulation
        self.passes = round(steps / self.batches.per_pass, 2)

    def finish(self, previous: SpeechEncoder | None) -> tuple[SpeechEncoder, Progress]:
        """Train to the end, or go on with it; write the encoder of this iteration."""
        identity = self._identity(previous)
        begun(self.folder, identity)  # before the targets of another run are written over
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
        trained = model.encoder.cpu().eval()
        trained.provenance = self._provenance()
        save(trained, self.folder / "encoder")
        return trained, progress

    def _identity(self, previous: SpeechEncoder | None) -> str:
        """Return what a checkpoint and targets must have been made of to be gone on with."""
        settings = self.recipe.model_dump(mode="json", exclude={"iterations", "name"})
        for irrelevant in ("workers", "hold"):
            settings["audio"].pop(irrelevant)
        iteration = self.iteration.model_dump(mode="json")
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
        """Return the model's inputs for a batch; the masks follow from `seed`."""
        counts = [self.shape.frames(crop.samples) for crop in crops]
        masks = draw_masks(counts, self.iteration.masks, np.random.default_rng(seed))
        wanted = [
            targets.crop(crop.file, crop.start, count, self.shape.frame_stride)
            for crop, count in zip(crops, counts, strict=True)
        ]
        padded = pad_sequence(wanted, batch_first=True, padding_value=-1)
        return {"waveforms": waveforms, "targets": padded, "masks": masks}

    def _validation(self, targets: Targets) -> Callable[[nn.Module], Scalars]:
        """Return a function that measures a model: the same crops and masks every time."""
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
        """Say where the weights come from; the recipe and history lie in `pretraining.json`."""
        shape = self.shape
        return Provenance(
            base=f"{self.recipe.name} ({shape.family}, {len(shape.layers)} x {shape.hidden}, "
            f"pre-trained on {self.audio.seconds / 3600:.2f} h of audio, iteration {self.number}, "
            f"seed {self.recipe.seed})"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pretrain` from an argument list; returns the exit code."""
    example = "pretrain recipes/pretrain/hubert_demo.yaml --data AUDIO --output out/hubert_demo"
    commands = {"pretrain": console.Command(pretrain, (example,))}
    argv = sys.argv[1:] if arguments is None else arguments
    return console.run(commands, ["pretrain", *argv])


if __name__ == "__main__":
    sys.exit(main())
