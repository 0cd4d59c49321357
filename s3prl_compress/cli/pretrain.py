"""`pretrain`: HuBERT's pre-training, iterations of clustering frames and predicting masked ones.

The output folder holds `iteration_N/{targets.safetensors, state, tensorboard, encoder}` for each
iteration, the last encoder as `encoder`, `loss.png` and `pretraining.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.command_result import CommandResult
from ..common.errors import InputError
from ..common.extras import require_extra
from ..common.files import write_atomically
from ..common.validation import check_folder_output, pick_device, use_threads

if TYPE_CHECKING:
    from ..audio import AudioSet
    from ..encoder import SpeechEncoder
    from ..pretraining import Recipe

_CURVES = {"masked_loss": "cross entropy, masked frames", "accuracy": "accuracy, masked frames"}


def pretrain(
    recipe: str,
    *,
    data: str,
    output: str,
    device: str | None = None,
    threads: int | None = None,
) -> CommandResult:
    """Pre-train a small HuBERT from scratch on untranscribed speech.

    If the command is interrupted, run it again to resume from the last saved state; the final
    weights are the same as without the interruption.

    Args:
        recipe: YAML file with the model and the training settings, such as
            recipes/pretrain/hubert_demo.yaml
        data: folder of recordings (of LibriSpeech, only the parts train-... are used), or a csv
            table with a column `file`
        output: folder of the checkpoint, the loss curve and the state to resume from
        device: torch device to train on, such as cpu or cuda; by default cuda if it is available,
            otherwise cpu
        threads: number of CPU threads; by default torch's own choice
    """
    require_extra("train", "pretrain")
    use_threads(threads)
    chosen_device, folder = pick_device(device), check_folder_output(output)
    from ..audio import open_audio
    from ..encoder.checkpoint import check_checkpoint_output
    from ..pretraining.recipe import load_recipe

    check_checkpoint_output(folder / "encoder")
    settings = load_recipe(recipe)
    audio = open_audio(data, minimum_samples=settings.model.shape().minimum_samples)
    result = run_recipe(settings, audio, folder, chosen_device)
    last = result["iterations"][-1]
    return CommandResult(
        result,
        f"{settings.name}: {len(settings.iterations)} iterations over "
        f"{audio.seconds / 3600:.2f} h of audio; on masked training frames: "
        f"loss {last['masked_loss']:.3f}, accuracy {last['accuracy']:.1%}",
        (
            f"checkpoint: {folder / 'encoder'}",
            f"curve: {folder / 'loss.png'}; tensorboard --logdir {folder}",
            f"next: s3prl-compress score {folder / 'encoder'} --task ks --data DIR",
        ),
    )


def run_recipe(recipe: Recipe, audio: AudioSet, folder: Path, device: str) -> dict[str, Any]:
    """Run all iterations of `recipe` on `audio`, write the results to `folder` and return them.

    Raises:
        InputError: `folder` holds a run with other settings or audio, the audio is unusable, or
            this is one of several processes.
    """
    from ..encoder import fingerprint, save
    from ..pretraining import IterationRun, draw_curves
    from ..results.environment import environment
    from ..training.processes import rank_and_world_size

    if rank_and_world_size()[1] > 1:
        raise InputError("pre-training runs in one process; start it without a launcher")
    if recipe.audio.cache_in_memory:
        audio = audio.hold()
    audio.check_audible()
    encoder: SpeechEncoder | None = None
    histories, iterations = {}, []
    for number, iteration in enumerate(recipe.iterations, start=1):
        run = IterationRun(recipe, number, iteration, audio, folder / f"iteration_{number}", device)
        encoder, progress = run.finish(encoder)
        histories[f"iteration {number}: {iteration.targets.kind}"] = progress
        iterations.append(
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
        "iterations": iterations,
    }
    # The folder that gets published carries its history as well.
    for place in (folder, folder / "encoder"):
        write_atomically(place / "pretraining.json", json.dumps(result, indent=2) + "\n")
    return result
