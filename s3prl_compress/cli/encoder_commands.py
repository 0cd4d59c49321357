"""Commands that make, inspect and convert encoders: `inspect`, `random`, `compress`, `export`.

Signatures are the options and docstrings the help. Heavy imports stand inside the functions, so
that `--help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..common.command_result import CommandResult, table
from ..common.errors import InputError
from ..common.validation import pick_device, use_threads


def inspect(model: str, *, device: str | None = None, threads: int | None = None) -> CommandResult:
    """Show the parameters, multiply-adds, shape and history of an encoder or a Whisper model.

    Args:
        model: checkpoint folder, transformers folder, s3prl-converted .pt file, or hub id; or the
            name of a shape (see `ls shapes`), which needs no weights; or a Whisper model (folder,
            hub id, or openai's .pt file), of which only the encoder's multiply-adds are counted
        device: torch device on which the weights are loaded, such as cpu or cuda; by default cuda
            if it is available, otherwise cpu
        threads: number of CPU threads; by default torch's own choice
    """
    use_threads(threads)
    chosen_device = pick_device(device)
    from ..encoder.importers import is_whisper
    from .inspection import inspect_model, inspection_rows

    if is_whisper(model):
        from .whisper import inspect_whisper

        return inspect_whisper(model, chosen_device)
    data = inspect_model(model, chosen_device)
    return CommandResult(data, table(inspection_rows(data)))


def random(shape: str, *, output: str, seed: int = 0) -> CommandResult:
    """Write a checkpoint with random weights, to try the commands without a download.

    Such a model has learned nothing, so its scores say nothing about compression. Records and
    tables mark it as random.

    Args:
        shape: name of a shape, see `ls shapes`
        output: folder of the new checkpoint; an existing checkpoint is replaced
        seed: random seed of the weights
    """
    from ..encoder import cost, named_shape, random_encoder, save
    from ..encoder.checkpoint import check_checkpoint_output

    folder = check_checkpoint_output(output)
    encoder = random_encoder(named_shape(shape), seed)
    save(encoder, folder)
    data = {"output": output, "seed": seed, "random_weights": True} | cost(encoder).model_dump()
    return CommandResult(
        data,
        f"{shape} with random weights (seed {seed}), {data['parameters']:,} parameters: {output}",
        (
            f"next: s3prl-compress compress {output} "
            "--method clustering --sparsity 0.1 --output DIR",
        ),
    )


def compress(
    model: str,
    *,
    output: str,
    method: str | None = None,
    then: str | None = None,
    recipe: str | None = None,
    normalize: bool | None = None,
    device: str | None = None,
    threads: int | None = None,
    **settings: str,
) -> CommandResult:
    """Compress an encoder with a published method and write it as a checkpoint folder.

    Whisper models are taken by the methods clustering, magnitude, low_rank and layers; --part
    selects the encoder or the decoder, and the sparsity is printed over three denominators.

    The settings of the method are further options; `ls methods NAME` lists them, and so does this
    help together with `--method NAME` or `--recipe FILE`. Methods can be chained: the output of one
    is a valid MODEL for the next. A recipe is a YAML file that names methods and their settings;
    options on the command line override those of the recipe.

    Methods that train keep their state in OUTPUT.work until the checkpoint is written. If the
    command is interrupted, run it again to resume.

    Args:
        model: checkpoint folder, transformers folder, s3prl-converted .pt file, or hub id; or a
            Whisper model (folder, hub id, or openai's .pt file)
        output: folder of the new checkpoint; an existing checkpoint is replaced
        method: name of the compression method, see `ls methods`
        then: name of a second method that is applied to the result of the first, such as distill,
            whose teacher is MODEL; a setting that both methods have applies to both
        recipe: YAML file that replaces method and then, or the name of a packaged recipe, see
            `ls recipes`
        normalize: whether waveforms are scaled to zero mean and unit variance before the encoder;
            overrides what MODEL says, and is stored in the new checkpoint
        device: torch device to compute on, such as cpu or cuda; by default cuda if it is available,
            otherwise cpu
        threads: number of CPU threads; by default torch's own choice
    """
    use_threads(threads)
    from ..encoder.checkpoint import check_checkpoint_output

    chosen_device, folder = pick_device(device), check_checkpoint_output(output)
    if Path(model).exists() and Path(model).resolve() == folder.resolve():
        raise InputError(f"--output {output}: is the model itself; give another folder")
    from ..encoder.importers import is_whisper
    from . import compression, compression_recipes

    steps = compression_recipes.resolve_steps(method, then, recipe)
    if is_whisper(model):
        if normalize is not None:
            raise InputError("normalize: does not apply to Whisper, which reads log-mel features")
        from .whisper import compress_whisper_to

        return compress_whisper_to(model, folder, steps, settings, chosen_device)
    data = compression.compress_to(model, folder, steps, settings, chosen_device, normalize)
    return CommandResult(
        data,
        compression.comparison(data),
        (
            *(f"note: {note}" for note in data["notes"]),
            f"checkpoint: {output}",
            f"next: s3prl-compress time {output} --against {model}",
            f"      s3prl-compress score {output} --task {_next_task(output)} --data DIR",
        ),
    )


def _next_task(folder: str) -> str:
    """Return the task that a new checkpoint is most likely meant for."""
    from ..encoder.checkpoint import is_checkpoint, read_config

    # Of several processes only one writes it, and the others may be here before.
    has_head = is_checkpoint(folder) and read_config(Path(folder)).head is not None
    return "ctc" if has_head else "ks"


def method_settings(
    *, method: str | None = None, then: str | None = None, recipe: str | None = None
) -> dict[str, str | None]:
    """Return the settings of the methods that `compress` is to apply, with their help texts.

    The text is None for former names, which are accepted without being shown.
    """
    if method is None and recipe is None:
        return {}
    from .compression import chained_settings
    from .compression_recipes import resolve_steps

    return chained_settings([step.method for step in resolve_steps(method, then, recipe)])


def export(
    model: str,
    *,
    format: str,
    output: str,
    dense: bool = False,
    dtype: Literal["float32", "float16", "bfloat16", "int8", "int8_bfloat16"] = "float32",
    states: Literal["all", "last"] | None = None,
    audio: str | None = None,
    error_limit: float | None = None,
    normalize: bool | None = None,
    threads: int | None = None,
    pad: Literal["full", "none"] | None = None,
) -> CommandResult:
    """Write an encoder in another format, such as a transformers folder or an ONNX file.

    A model for a runtime is run on speech before it is written: the error of its hidden states
    against PyTorch in float32 is printed and stored, and a model above the limit is not written.
    `score` and `time` take such a model in place of a checkpoint, except one for
    sherpa-onnx.

    For a Whisper model, checkpoint writes the encoder, which all commands take; onnx, openvino and
    ctranslate2 write encoder and decoder into a folder, with the error of the encoder's output and
    of the first token's logits.

    Args:
        model: checkpoint folder, transformers folder, s3prl-converted .pt file, hub id, Whisper
            model, or hubert_demo
        format: name of a format, see `ls formats`: onnx, openvino or sherpa-onnx, for these
            runtimes; ctranslate2, for Whisper models; transformers, which transformers reads
            without this package; or checkpoint, this package's own, which can hold any encoder
        output: folder to write, or with onnx a file ending in .onnx, except for a Whisper model; an
            earlier export of the same format is replaced
        dense: with transformers, write low-rank, shared and sparse linear layers as dense ones, and
            fill pruned heads and FFN units with zeros; with ctranslate2, write low-rank ones as
            dense ones
        dtype: number format: float32 or float16 of the stored weights of a checkpoint or
            transformers folder; of the arithmetic float32 or int8 with onnx and sherpa-onnx, and
            with openvino also bfloat16 or int8_bfloat16 (int8 for the layers' products, bfloat16
            for the rest); any but the last with ctranslate2
        states: hidden states that a model for a runtime returns, all (the default) or the last one
        audio: folder or csv table of speech on which a model for a runtime is measured; by default
            the generated speech that is part of this package
        error_limit: largest mean relative error of the hidden states with which a model for a
            runtime is written, 0.05 by default
        normalize: whether waveforms are scaled to zero mean and unit variance before the encoder;
            overrides what MODEL says, and is part of the export
        threads: number of CPU threads; by default torch's own choice
        pad: for Whisper's encoder, full: utterances are padded to 30 s, as in Whisper; none: they
            are not, which makes another model, faster on short utterances; by default as MODEL says
    """
    use_threads(threads)
    from ..encoder import load
    from ..encoder.exporters import find_export_target
    from .exporting import (
        check_measurement,
        export_options,
        export_result,
        export_whisper,
        whisper_target,
    )

    path = Path(output)
    if (whole := whisper_target(model, format)) is not None:
        return export_whisper(
            whole,
            model,
            path,
            dtype=dtype,
            dense=dense,
            audio=audio,
            error_limit=error_limit,
            states=states,
            normalize=normalize,
            pad=pad,
        )
    target = find_export_target(format)
    target.check_dtype(dtype)
    check_measurement(target, states=states, audio=audio, error_limit=error_limit)
    target.check_output(path)
    encoder = load(model, normalize=normalize, pad=pad)
    options = export_options(target, encoder, dtype, dense, states, audio, error_limit)
    error = target.write(encoder, path, options)
    return export_result(target, encoder, model, path, dtype, error)
