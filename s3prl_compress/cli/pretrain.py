"""HuBERT's pre-training: iterations of clustering frames and predicting the masked ones.

    python -m s3prl_compress.cli.pretrain RECIPE.yaml --data AUDIO --output DIR

The output folder holds, per iteration, `iteration_N/{targets.safetensors, state, tensorboard,
encoder}`; and `encoder` (the last one), `loss.png` and `pretraining.json`. The same command goes
on where it was stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..audio import AudioSet, open_audio
from ..common.errors import InputError
from ..common.files import write_atomically
from ..common.validation import check_folder_output, pick_device, use_threads
from ..encoder import SpeechEncoder, fingerprint, save
from ..encoder.checkpoint import check_checkpoint_output
from ..pretraining import IterationRun, Recipe, draw_curves, load_recipe
from ..results.records import environment
from ..training.processes import rank_and_world_size
from . import console

_CURVES = {"masked_loss": "cross entropy, masked frames", "accuracy": "accuracy, masked frames"}


def pretrain(
    recipe: str,
    *,
    data: str,
    output: str,
    device: str | None = None,
    threads: int | None = None,
) -> console.CommandResult:
    """Pre-train a small HuBERT from scratch on untranscribed speech.

    A run that was stopped goes on from its last checkpoint, to the same weights.

    Args:
        recipe: YAML file, such as recipes/pretrain/hubert_demo.yaml
        data: folder of wav, flac or ogg files (of LibriSpeech, train-* are taken), or a csv table
            with a column `file`
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
    return console.CommandResult(
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
        InputError: `folder` holds a run with other settings or audio, the audio is unusable, or
            this is one of several processes.
    """
    if rank_and_world_size()[1] > 1:
        raise InputError("pre-training runs in one process; start it without a launcher")
    if recipe.audio.cache_in_memory:
        audio = audio.hold()
    audio.check_audible()
    encoder: SpeechEncoder | None = None
    histories, figures = {}, []
    for number, iteration in enumerate(recipe.iterations, start=1):
        run = IterationRun(recipe, number, iteration, audio, folder / f"iteration_{number}", device)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pretrain` from an argument list; returns the exit code."""
    example = "pretrain recipes/pretrain/hubert_demo.yaml --data AUDIO --output out/hubert_demo"
    commands = {"pretrain": console.Command(pretrain, (example,))}
    argv = sys.argv[1:] if arguments is None else arguments
    return console.run(commands, ["pretrain", *argv])


if __name__ == "__main__":
    sys.exit(main())
